"""The door: the Metadata service of proto/metadata_api over the parts that do the work.

Owns: messages <-> values of the requests. Does not own: errors as statuses (libs/rpc).
"""

from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from libs.clients import convert
from libs.clients.errors import to_proto
from libs.clients.metadata import TopicToCreate
from libs.clients.references import references_message
from libs.clients.topic_updates import update, updated_message
from libs.model import cluster
from libs.model.errors import Corrupt, Invalid, KafscaleError, NotFound
from libs.model.ids import (
    ChainSeq,
    LeaderEpoch,
    Offset,
    OwnerId,
    Partition,
    Revision,
    SessionId,
    StoreId,
    TopicId,
    TopicName,
    TopicPartition,
)
from proto.metadata.metadata_pb2 import PartitionState
from proto.metadata_api import metadata_api_pb2 as api
from proto.metadata_api.metadata_api_grpc import MetadataBase
from services.metadata.cache import Cache
from services.metadata.drain import Drains
from services.metadata.kv.port import LeaseId
from services.metadata.partitions import PartitionRecord, Partitions
from services.metadata.producer_ids import ProducerIds
from services.metadata.references import ReferenceReader
from services.metadata.registrations import Registered, Registrations
from services.metadata.snapshot import TakeSnapshot
from services.metadata.topics import Topics

if TYPE_CHECKING:
    from grpclib.server import Stream


class MetadataHandlers(MetadataBase):
    """One method an RPC, named by the proto."""

    def __init__(  # noqa: PLR0913 - one a part that does the work, by name
        self,
        *,
        cache: Cache,
        topics: Topics,
        registrations: Registrations,
        partitions: Partitions,
        drains: Drains,
        producer_ids: ProducerIds,
        references: ReferenceReader,
        snapshot: TakeSnapshot,
        watch_ended: Callable[[str], None],
    ) -> None:
        """`watch_ended` is told the name of each watcher that is gone."""
        self._cache = cache
        self._topics = topics
        self._registrations = registrations
        self._partitions = partitions
        self._drains = drains
        self._producer_ids = producer_ids
        self._references = references
        self._snapshot = snapshot
        self._watch_ended = watch_ended

    async def Watch(self, stream: "Stream[api.WatchRequest, api.WatchEvent]") -> None:  # noqa: N802
        request = await _request(stream)
        after = await self._cache.plausible(Revision(request.after_revision))
        try:
            async with aclosing(self._cache.feed.follow(after)) as events:
                async for event in events:
                    await stream.send_message(event)
        finally:
            self._watch_ended(request.watcher)

    async def RegisterOwner(  # noqa: N802
        self, stream: "Stream[api.RegisterOwnerRequest, api.RegisterReply]"
    ) -> None:
        request = await _request(stream)
        _session(request.owner.session)
        registered = await self._registrations.register_owner(
            convert.owner(request.owner),
            in_flight_max=request.in_flight_max,
            known=request.known,
            store_id=_store_id(request.store_id),
        )
        await stream.send_message(self._registered(registered))

    async def RegisterGateway(  # noqa: N802
        self, stream: "Stream[api.RegisterGatewayRequest, api.RegisterReply]"
    ) -> None:
        request = await _request(stream)
        registered = await self._registrations.register_gateway(convert.gateway(request.gateway))
        await stream.send_message(self._registered(registered))

    def _registered(self, registered: Registered) -> api.RegisterReply:
        return api.RegisterReply(
            lease_id=registered.lease_id,
            lease_ms=self._lease_ms,
            broker_id=registered.broker_id,
            revision=registered.revision,
        )

    @property
    def _lease_ms(self) -> int:
        return int(self._registrations.lease_seconds * 1000)

    async def KeepAlive(self, stream: "Stream[api.KeepAliveRequest, api.KeepAliveReply]") -> None:  # noqa: N802
        request = await _request(stream)
        lease_id = LeaseId(request.lease_id)
        if self._cache.state.holds_sealed(lease_id):
            # It would be given nothing and so never write, which is how an owner meets a seal by itself.
            raise NotFound(f"the session registered with lease {lease_id} was sealed: begin a new one")
        await self._registrations.keep_alive(lease_id)
        await stream.send_message(api.KeepAliveReply(lease_ms=self._lease_ms))

    async def Deregister(self, stream: "Stream[api.DeregisterRequest, api.DeregisterReply]") -> None:  # noqa: N802
        request = await _request(stream)
        await self._registrations.deregister(LeaseId(request.lease_id))
        await stream.send_message(api.DeregisterReply())

    async def GetPartition(self, stream: "Stream[api.GetPartitionRequest, api.PartitionReply]") -> None:  # noqa: N802
        request = await _request(stream)
        record = await self._partitions.get(_at(request.topic_id, request.partition))
        await stream.send_message(_partition_reply(record))

    async def OpenPartition(  # noqa: N802
        self, stream: "Stream[api.OpenPartitionRequest, api.PartitionReply]"
    ) -> None:
        request = await _request(stream)
        record = await self._partitions.open(
            _at(request.topic_id, request.partition),
            _state(request.state),
            assignment_revision=Revision(request.assignment_revision),
            state_revision=Revision(request.state_revision),
        )
        await stream.send_message(_partition_reply(record))

    async def CommitPartition(  # noqa: N802
        self, stream: "Stream[api.CommitPartitionRequest, api.PartitionReply]"
    ) -> None:
        request = await _request(stream)
        record = await self._partitions.commit(
            _at(request.topic_id, request.partition),
            _state(request.state),
            session=_session(request.session),
            leader_epoch=LeaderEpoch(request.leader_epoch),
            assignment_revision=Revision(request.assignment_revision),
            state_revision=Revision(request.state_revision),
        )
        await stream.send_message(_partition_reply(record))

    async def ReleasePartition(  # noqa: N802
        self, stream: "Stream[api.ReleasePartitionRequest, api.PartitionReply]"
    ) -> None:
        request = await _request(stream)
        record = await self._partitions.release(
            _at(request.topic_id, request.partition),
            session=_session(request.session),
            leader_epoch=LeaderEpoch(request.leader_epoch),
            opened=request.opened,
            to_seq=ChainSeq(request.to_seq),
            released_offset=Offset(request.released_offset),
        )
        await stream.send_message(_partition_reply(record))

    async def MarkSessionSealed(  # noqa: N802
        self, stream: "Stream[api.MarkSessionSealedRequest, api.MarkSessionSealedReply]"
    ) -> None:
        request = await _request(stream)
        session = _session(request.session)
        await self._registrations.mark_sealed(session, sealed_at=ChainSeq(request.sealed_at))
        await stream.send_message(api.MarkSessionSealedReply())

    async def DrainOwner(self, stream: "Stream[api.DrainOwnerRequest, api.DrainOwnerReply]") -> None:  # noqa: N802
        request = await _request(stream)
        await self._drains.drain(
            OwnerId(request.owner),
            _session(request.session),
            [_at(each.topic_id, each.partition) for each in request.partitions],
            reason=request.reason,
        )
        await stream.send_message(api.DrainOwnerReply())

    async def CreateTopics(  # noqa: N802
        self, stream: "Stream[api.CreateTopicsRequest, api.CreateTopicsReply]"
    ) -> None:
        request = await _request(stream)
        wanted = [
            TopicToCreate(name=TopicName(each.name), partitions=each.partitions, configs=dict(each.configs))
            for each in request.topics
        ]
        answers = await self._topics.create(
            wanted, validate_only=request.validate_only, timeout_seconds=request.timeout_ms / 1000
        )
        created = [
            api.CreatedTopic(error=to_proto(answer))
            if isinstance(answer, KafscaleError)
            else api.CreatedTopic(topic=convert.topic_message(answer))
            for answer in answers
        ]
        await stream.send_message(api.CreateTopicsReply(topics=created))

    async def GetTopics(  # noqa: N802
        self, stream: "Stream[api.GetTopicsRequest, api.GetTopicsReply]"
    ) -> None:
        request = await _request(stream)
        found = await self._topics.get(map(_topic_reference, request.topics))
        await stream.send_message(api.GetTopicsReply(topics=map(convert.topic_message, found)))

    async def DeleteTopics(  # noqa: N802
        self, stream: "Stream[api.DeleteTopicsRequest, api.DeleteTopicsReply]"
    ) -> None:
        request = await _request(stream)
        answers = await self._topics.delete([_topic_reference(each) for each in request.topics])
        deleted = [
            api.DeletedTopicReply(error=to_proto(answer))
            if isinstance(answer, KafscaleError)
            else api.DeletedTopicReply(name=answer.name, topic_id=answer.topic_id.bytes)
            for answer in answers
        ]
        await stream.send_message(api.DeleteTopicsReply(topics=deleted))

    async def UpdateTopic(  # noqa: N802
        self, stream: "Stream[api.UpdateTopicRequest, api.UpdateTopicReply]"
    ) -> None:
        request = await _request(stream)
        topic_id = TopicId(_id(request.topic_id)) if request.topic_id else None
        answer = await self._topics.update(update(request, topic_id), validate_only=request.validate_only)
        await stream.send_message(updated_message(answer))

    async def AllocateProducerIds(  # noqa: N802
        self, stream: "Stream[api.AllocateProducerIdsRequest, api.AllocateProducerIdsReply]"
    ) -> None:
        request = await _request(stream)
        block = await self._producer_ids.allocate(request.count)
        await stream.send_message(api.AllocateProducerIdsReply(first=block.start, count=len(block)))

    async def GetReferences(  # noqa: N802
        self, stream: "Stream[api.GetReferencesRequest, api.GetReferencesReply]"
    ) -> None:
        request = await _request(stream)
        topics = [TopicId(_id(each)) for each in request.topics]
        found = await self._references.get(
            sessions=[_session(each) for each in request.sessions],
            partitions=[_at(each.topic_id, each.partition) for each in request.partitions],
            topics=topics,
            collectable=request.collectable,
        )
        await stream.send_message(references_message(found, topics))

    async def ForgetCollected(  # noqa: N802
        self, stream: "Stream[api.ForgetCollectedRequest, api.ForgetCollectedReply]"
    ) -> None:
        request = await _request(stream)
        await self._references.forget(
            sessions=[_session(each) for each in request.sessions],
            topics=[TopicId(_id(each)) for each in request.topics],
        )
        await stream.send_message(api.ForgetCollectedReply())

    async def Snapshot(self, stream: "Stream[api.SnapshotRequest, api.SnapshotPart]") -> None:  # noqa: N802
        request = await _request(stream)
        async with aclosing(
            self._snapshot(Revision(request.unless_revision), with_live=request.with_live)
        ) as parts:
            async for part in parts:
                entries = [
                    api.SnapshotEntry(key=key, value=value, mod_revision=mod_revision)
                    for key, value, mod_revision in part.entries
                ]
                await stream.send_message(api.SnapshotPart(revision=part.revision, entries=entries))


_T = TypeVar("_T")


async def _request(stream: "Stream[_T, Any]") -> _T:
    request = await stream.recv_message()
    assert request is not None, "libs/rpc raises where a unary request has no message"
    return request


def _id(raw: bytes) -> UUID:
    if len(raw) != 16:
        raise Invalid(f"an id of {len(raw)} bytes; ids have 16")
    return UUID(bytes=raw)


def _store_id(raw: bytes) -> StoreId | None:
    return StoreId(_id(raw)) if raw else None


def _session(raw: bytes) -> SessionId:
    return SessionId(_id(raw))


def _topic_reference(message: api.TopicReference) -> TopicName | TopicId:
    return TopicId(_id(message.topic_id)) if message.topic_id else TopicName(message.name)


def _at(topic_id: bytes, partition: int) -> TopicPartition:
    return TopicPartition(TopicId(_id(topic_id)), Partition(partition))


def _state(message: PartitionState) -> cluster.PartitionState:
    try:
        return convert.partition_state(message)
    except Corrupt as error:
        raise Invalid(error.message) from error


def _partition_reply(record: PartitionRecord) -> api.PartitionReply:
    state = None if record.state is None else convert.partition_state_message(record.state.value)
    return api.PartitionReply(
        assignment=convert.assignment_message(record.assignment.value),
        assignment_revision=record.assignment.revision,
        state=state,
        state_revision=record.state_revision,
    )
