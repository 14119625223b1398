"""MetadataClient: typed unary calls to the metadata service, over whichever replica answers.

Owns: choosing a replica, failing over, proto <-> model. Does not own: what a caller does about an outcome
that is unknown. Rules: 1 a call is sent to another replica only where the first one certainly did nothing,
or where the call is a read.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpclib.client

from libs.clients import convert
from libs.clients.errors import from_proto
from libs.clients.references import references
from libs.clients.topic_updates import TopicUpdate, UpdatedTopic, update_message, updated
from libs.clients.watcher import Connect
from libs.concurrency.rand import Rand
from libs.model.cluster import Assignment, Gateway, Owner, PartitionState, Topic
from libs.model.errors import Invalid, KafscaleError, Reason, Unavailable
from libs.model.ids import (
    BrokerId,
    ChainSeq,
    LeaderEpoch,
    Offset,
    OwnerId,
    ProducerId,
    Revision,
    SessionId,
    StoreId,
    TopicId,
    TopicName,
    TopicPartition,
)
from libs.model.references import References
from libs.segments.snapshot import SnapshotEntry
from proto.metadata_api import metadata_api_pb2 as api
from proto.metadata_api.metadata_api_grpc import MetadataStub

_T = TypeVar("_T")

CALL_SECONDS_MAX = 10.0
"""A unary call that has no answer by then has an unknown outcome."""

REFERENCES_SECONDS_MAX = 30.0
"""GetReferences reads every partition's state."""
SNAPSHOT_SECONDS_MAX = 120.0
NO_REVISION = Revision(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    lease_id: int
    lease_seconds: float
    broker_id: BrokerId
    """Only of a gateway's registration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRecord:
    """A partition's assignment and state with the revisions that guard a change of them."""

    assignment: Assignment
    assignment_revision: Revision
    state: PartitionState | None
    state_revision: Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicToCreate:
    name: TopicName
    partitions: int
    """-1: the cluster's default."""
    configs: Mapping[str, str]


class MetadataClient:
    """Methods raise the kinds of libs/model/errors.py; Unavailable says whether it may have happened."""

    def __init__(self, channels: Sequence[grpclib.client.Channel], *, first: int = 0) -> None:
        """`first` is the channel that is asked first, until it fails."""
        self._stubs = [MetadataStub(channel) for channel in channels]
        self._preferred = first

    async def register_owner(
        self, owner: Owner, *, in_flight_max: int, known: bool = False, store_id: StoreId | None = None
    ) -> Registration:
        """Raises Fenced(SESSION_OVER) where the session was sealed, or is `known` and has no record: begin a
        new one; Invalid(WRONG_STORE) where the cluster's records are in another store.
        """
        request = api.RegisterOwnerRequest(
            owner=convert.owner_message(owner),
            in_flight_max=in_flight_max,
            known=known,
            store_id=b"" if store_id is None else store_id.bytes,
        )
        return _registration(
            await self._call(lambda stub: stub.RegisterOwner(request, timeout=CALL_SECONDS_MAX))
        )

    async def register_gateway(self, gateway: Gateway) -> Registration:
        """A gateway with broker id -1 is given a stable one."""
        request = api.RegisterGatewayRequest(gateway=convert.gateway_message(gateway))
        return _registration(
            await self._call(lambda stub: stub.RegisterGateway(request, timeout=CALL_SECONDS_MAX))
        )

    async def keep_alive(self, lease_id: int, *, timeout_seconds: float) -> float:
        """The lease's length in seconds. Raises NotFound where the lease is over: register again."""
        request = api.KeepAliveRequest(lease_id=lease_id)
        reply = await self._read(lambda stub: stub.KeepAlive(request, timeout=timeout_seconds))
        return reply.lease_ms / 1000

    async def deregister(self, lease_id: int) -> None:
        request = api.DeregisterRequest(lease_id=lease_id)
        await self._read(lambda stub: stub.Deregister(request, timeout=CALL_SECONDS_MAX))

    async def get_partition(self, at: TopicPartition) -> PartitionRecord:
        """Linearizable. Raises NotFound where there is no such partition (any more)."""
        request = api.GetPartitionRequest(topic_id=at.topic_id.bytes, partition=at.partition)
        reply = await self._read(lambda stub: stub.GetPartition(request, timeout=CALL_SECONDS_MAX))
        return _partition_record(at, reply)

    async def open_partition(
        self, at: TopicPartition, read: PartitionRecord, state: PartitionState
    ) -> PartitionRecord:
        """Rule 10. Raises Fenced(GUARD_FAILED) where the record changed since it was read."""
        request = api.OpenPartitionRequest(
            topic_id=at.topic_id.bytes,
            partition=at.partition,
            assignment_revision=read.assignment_revision,
            state_revision=read.state_revision,
            state=convert.partition_state_message(state),
        )
        reply = await self._call(lambda stub: stub.OpenPartition(request, timeout=CALL_SECONDS_MAX))
        return _partition_record(at, reply)

    async def commit_partition(
        self, at: TopicPartition, read: PartitionRecord, state: PartitionState
    ) -> PartitionRecord:
        """Rules 14 and 15: a new manifest, positions, log start; `read` was the caller's own to change.

        Raises Moved where the partition is not that session's any more or is being released,
        Fenced(GUARD_FAILED) where the record changed since it was read, Invalid where something goes back.
        """
        request = api.CommitPartitionRequest(
            topic_id=at.topic_id.bytes,
            partition=at.partition,
            assignment_revision=read.assignment_revision,
            state_revision=read.state_revision,
            session=read.assignment.session.bytes,
            leader_epoch=read.assignment.leader_epoch,
            state=convert.partition_state_message(state),
        )
        reply = await self._call(lambda stub: stub.CommitPartition(request, timeout=CALL_SECONDS_MAX))
        return _partition_record(at, reply)

    async def release_partition(
        self,
        at: TopicPartition,
        *,
        session: SessionId,
        leader_epoch: LeaderEpoch,
        opened: bool,
        to_seq: ChainSeq,
        released_offset: Offset,
    ) -> PartitionRecord:
        """Rule 11: one-way once sent. Raises Moved where the assignment is not that session's any more."""
        request = api.ReleasePartitionRequest(
            topic_id=at.topic_id.bytes,
            partition=at.partition,
            session=session.bytes,
            leader_epoch=leader_epoch,
            opened=opened,
            to_seq=to_seq,
            released_offset=released_offset,
        )
        reply = await self._call(lambda stub: stub.ReleasePartition(request, timeout=CALL_SECONDS_MAX))
        return _partition_record(at, reply)

    async def mark_session_sealed(self, session: SessionId, *, sealed_at: ChainSeq) -> None:
        """Idempotent: a chain's end never changes."""
        request = api.MarkSessionSealedRequest(session=session.bytes, sealed_at=sealed_at)
        await self._read(lambda stub: stub.MarkSessionSealed(request, timeout=CALL_SECONDS_MAX))

    async def drain_owner(
        self, owner_id: OwnerId, session: SessionId, *, partitions: Sequence[TopicPartition], reason: str
    ) -> None:
        """Empty `partitions` means all. Raises Invalid(NOBODY_CAN_TAKE_OVER) on the only live owner."""
        request = api.DrainOwnerRequest(
            owner=owner_id,
            session=session.bytes,
            partitions=[
                api.TopicPartitionEntry(topic_id=at.topic_id.bytes, partition=at.partition)
                for at in partitions
            ],
            reason=reason,
        )
        await self._read(lambda stub: stub.DrainOwner(request, timeout=CALL_SECONDS_MAX))

    async def get_topics(self, topics: Iterable[TopicName | TopicId]) -> list[Topic]:
        """Those that exist, as the store has them after the call began: a view may be behind it."""
        request = api.GetTopicsRequest(topics=map(_topic_reference, topics))

        async def ask(stub: MetadataStub) -> api.GetTopicsReply:
            try:
                return await stub.GetTopics(request, timeout=CALL_SECONDS_MAX)
            except Invalid as error:
                if error.reason is Reason.UNSUPPORTED_VERSION:  # in the middle of an upgrade
                    raise Unavailable("this replica can't say yet which topics there are") from error
                raise

        return [convert.topic(each) for each in (await self._read(ask)).topics]

    async def create_topics(
        self, topics: Sequence[TopicToCreate], *, validate_only: bool, timeout_seconds: float
    ) -> list[Topic | KafscaleError]:
        """One answer a topic, in order."""
        request = api.CreateTopicsRequest(
            topics=[
                api.NewTopic(name=topic.name, partitions=topic.partitions, configs=dict(topic.configs))
                for topic in topics
            ],
            validate_only=validate_only,
            timeout_ms=int(timeout_seconds * 1000),
        )
        deadline = timeout_seconds + CALL_SECONDS_MAX
        reply = await self._call(lambda stub: stub.CreateTopics(request, timeout=deadline))
        return [from_proto(each.error) or convert.topic(each.topic) for each in reply.topics]

    async def delete_topics(
        self, topics: Sequence[TopicName | TopicId]
    ) -> list[tuple[TopicName, TopicId] | KafscaleError]:
        """By name or by id; one answer a topic, in order."""
        request = api.DeleteTopicsRequest(topics=map(_topic_reference, topics))
        reply = await self._call(lambda stub: stub.DeleteTopics(request, timeout=CALL_SECONDS_MAX))
        return [
            from_proto(each.error) or (TopicName(each.name), convert.topic_id(each.topic_id))
            for each in reply.topics
        ]

    async def update_topic(self, update: TopicUpdate, *, validate_only: bool = False) -> UpdatedTopic:
        """More partitions, other configs; returns when it is decided, not when new partitions are assigned.

        Raises NotFound (UNKNOWN_TOPIC_ID where the name is another topic's by now), Invalid
        (INVALID_PARTITIONS, INVALID_CONFIG), Fenced(GUARD_FAILED) where others change it all the time.
        """
        request = update_message(update, validate_only=validate_only)
        return updated(await self._call(lambda stub: stub.UpdateTopic(request, timeout=CALL_SECONDS_MAX)))

    async def allocate_producer_ids(self, count: int) -> range:
        """A block that nobody else ever gets; an unknown outcome only wastes one."""
        request = api.AllocateProducerIdsRequest(count=count)
        reply = await self._read(lambda stub: stub.AllocateProducerIds(request, timeout=CALL_SECONDS_MAX))
        return range(ProducerId(reply.first), ProducerId(reply.first + reply.count))

    async def snapshot(
        self,
        take: Callable[[Revision, Sequence[SnapshotEntry]], Awaitable[None]],
        *,
        unless_revision: Revision = NO_REVISION,
        with_live: bool = False,
    ) -> Revision:
        """Hands the kept keys of one revision to `take`, in order, in bounded parts; returns the revision.

        Where the store is still at `unless_revision`, `take` gets nothing. Raises Fenced(GUARD_FAILED) where
        it took too long: what was taken is of no use, begin anew.
        """
        request = api.SnapshotRequest(unless_revision=unless_revision, with_live=with_live)

        async def read(stub: MetadataStub) -> Revision:
            revision = NO_REVISION
            async with stub.Snapshot.open(timeout=SNAPSHOT_SECONDS_MAX) as stream:
                await stream.send_message(request, end=True)
                async for part in stream:
                    revision = Revision(part.revision)
                    entries = [
                        SnapshotEntry(each.key, each.value, Revision(each.mod_revision))
                        for each in part.entries
                    ]
                    if entries:
                        await take(revision, entries)
            return revision

        return await self._call(read)

    async def get_references(
        self,
        *,
        sessions: Sequence[SessionId] = (),
        partitions: Sequence[TopicPartition] = (),
        topics: Sequence[TopicId] = (),
        collectable: bool = False,
    ) -> References:
        """What is still needed, linearizable and of one revision; at most 1000 of a kind."""
        request = api.GetReferencesRequest(
            sessions=[each.bytes for each in sessions],
            partitions=[
                api.TopicPartitionEntry(topic_id=at.topic_id.bytes, partition=at.partition)
                for at in partitions
            ],
            topics=[each.bytes for each in topics],
            collectable=collectable,
        )
        reply = await self._read(lambda stub: stub.GetReferences(request, timeout=REFERENCES_SECONDS_MAX))
        return references(reply, list(topics))

    async def forget_collected(
        self, *, sessions: Sequence[SessionId] = (), topics: Sequence[TopicId] = ()
    ) -> None:
        """Ends records whose objects are collected; one that is named again, or still, stays."""
        request = api.ForgetCollectedRequest(
            sessions=[each.bytes for each in sessions], topics=[each.bytes for each in topics]
        )
        await self._read(lambda stub: stub.ForgetCollected(request, timeout=REFERENCES_SECONDS_MAX))

    async def _call(self, send: Callable[[MetadataStub], Awaitable[_T]]) -> _T:
        """A write: goes to the next replica only where the last one certainly did nothing."""
        return await self._attempt(send, resend_unknown=False)

    async def _read(self, send: Callable[[MetadataStub], Awaitable[_T]]) -> _T:
        """A read, or a write that may safely happen twice."""
        return await self._attempt(send, resend_unknown=True)

    async def _attempt(self, send: Callable[[MetadataStub], Awaitable[_T]], *, resend_unknown: bool) -> _T:
        last = Unavailable("no metadata replica is known", reason=Reason.METADATA_UNAVAILABLE)
        for turn in range(len(self._stubs)):
            index = (self._preferred + turn) % len(self._stubs)
            try:
                reply = await send(self._stubs[index])
            except Unavailable as error:
                last = error
                if error.outcome_unknown and not resend_unknown:
                    break
            else:
                self._preferred = index
                return reply
        self._preferred = (self._preferred + 1) % max(1, len(self._stubs))
        raise last


def _topic_reference(topic: TopicName | TopicId) -> api.TopicReference:
    if isinstance(topic, str):
        return api.TopicReference(name=topic)
    return api.TopicReference(topic_id=topic.bytes)


@asynccontextmanager
async def open_metadata_client(
    addresses: Sequence[str], connect: Connect, *, rand: Rand | None = None
) -> AsyncIterator[MetadataClient]:
    """A client over one channel to each address.

    `rand` chooses who is asked first: all services are told the same addresses, and one replica would have
    all of the work. None: the first address.
    """
    first = 0 if rand is None else int(rand.random() * len(addresses))
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(connect(each)) for each in addresses]
        yield MetadataClient(channels, first=first)


def _registration(reply: api.RegisterReply) -> Registration:
    return Registration(
        lease_id=reply.lease_id, lease_seconds=reply.lease_ms / 1000, broker_id=BrokerId(reply.broker_id)
    )


def _partition_record(at: TopicPartition, reply: api.PartitionReply) -> PartitionRecord:
    return PartitionRecord(
        assignment=convert.assignment(at, reply.assignment),
        assignment_revision=Revision(reply.assignment_revision),
        state=convert.partition_state(reply.state) if reply.HasField("state") else None,
        state_revision=Revision(reply.state_revision),
    )
