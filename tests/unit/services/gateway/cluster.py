"""A small cluster behind a gateway under test: metadata and owners that keep all in memory, over the real
codec.

Owns: services that answer what gateways ask, and levers for tests. Does not own: how the real ones work.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import grpclib.client
import trio
from grpclib.server import Stream

from libs.clients import convert
from libs.clients.errors import to_proto
from libs.clients.metadata import MetadataClient, open_metadata_client
from libs.clients.topic_updates import UpdatedTopic, update, updated_message
from libs.clients.watcher import ClusterWatcher, open_watcher
from libs.concurrency.clock import SystemClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Assignment, AssignmentState, Gateway, Owner, Topic
from libs.model.errors import Invalid, NotFound, Reason, Unavailable
from libs.model.ids import (
    GatewayId,
    LeaderEpoch,
    OwnerId,
    Partition,
    Revision,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)
from libs.rpc import Server, memory_channel
from proto.metadata_api import metadata_api_pb2 as api
from proto.metadata_api.metadata_api_grpc import MetadataBase
from services.gateway.config import GatewayOptions
from services.gateway.recorder import SilentRecorder
from services.gateway.service import GatewayService, open_gateway
from services.metadata.topic_changes import changed
from tests.unit.services.gateway.fake_owner import FakeOwner

METADATA = "metadata:9094"


class FakeMetadata(MetadataBase):
    """Topics, assignments and registrations in memory. New partitions go round the owners."""

    def __init__(self) -> None:
        self.rand = SeededRand("metadata")
        self.revision = 1
        self.topics: dict[TopicName, Topic] = {}
        self.owners: dict[OwnerId, Owner] = {}
        self.gateways: dict[str, Gateway] = {}
        self.assignments: dict[TopicPartition, Assignment] = {}
        self.next_producer_id = 1000
        self.unavailable = False
        self.created: list[list[str]] = []
        self.looked_up: list[list[str]] = []
        """Names, of each GetTopics."""
        self.outdated = False
        """An older version, without GetTopics."""
        self.silent = False
        """Watches hear of nothing new."""
        self.updates = 0
        self.hold_updates: trio.Event | None = None
        self._events: list[api.WatchEvent] = []
        self._changed = trio.Event()

    # Levers

    def add_owner(self, name: str) -> Owner:
        owner = Owner(
            owner_id=OwnerId(name),
            address=f"{name}:9094",
            zone="a",
            session=SessionId(self.rand.uuid()),
        )
        self.owners[owner.owner_id] = owner
        self._tell(api.Change(owner=convert.owner_message(owner)))
        return owner

    def add_gateway(self, gateway: Gateway) -> None:
        self.gateways[gateway.gateway_id] = gateway
        self._tell(api.Change(gateway=convert.gateway_message(gateway)))

    def create(
        self, name: str, partitions: int = 1, *, topic_id: TopicId | None = None, **configs: str
    ) -> Topic:
        topic = Topic(
            name=TopicName(name),
            topic_id=topic_id or TopicId(self.rand.uuid()),
            partitions=partitions,
            configs={key.replace("_", "."): value for key, value in configs.items()},
        )
        self.topics[topic.name] = topic
        self._tell(api.Change(topic=convert.topic_message(topic)), *self._assign_missing(topic))
        return topic

    def _assign_missing(self, topic: Topic) -> list[api.Change]:
        changes = []
        owners = sorted(self.owners.values(), key=lambda owner: owner.owner_id)
        for index in range(topic.partitions if owners else 0):
            if TopicPartition(topic.topic_id, Partition(index)) in self.assignments:
                continue
            owner = owners[index % len(owners)]
            assignment = Assignment(
                topic_id=topic.topic_id,
                partition=Partition(index),
                owner_id=owner.owner_id,
                session=owner.session,
                leader_epoch=LeaderEpoch(0),
            )
            changes.append(self._assign(assignment))
        return changes

    def assign(self, at: TopicPartition, owner: Owner) -> Assignment:
        """Gives the partition to `owner` under the next epoch."""
        old = self.assignments[at]
        new = replace(
            old,
            owner_id=owner.owner_id,
            session=owner.session,
            leader_epoch=LeaderEpoch(old.leader_epoch + 1),
            state=AssignmentState.ASSIGNED,
        )
        self._tell(self._assign(new))
        return new

    def release(self, at: TopicPartition) -> None:
        """Says that the owner is giving the partition up."""
        self._tell(self._assign(replace(self.assignments[at], state=AssignmentState.RELEASING)))

    def delete(self, name: str) -> Topic:
        topic = self.topics.pop(TopicName(name))
        changes = [api.Change(removed=True, topic=convert.topic_message(topic))]
        for index in range(topic.partitions):
            at = TopicPartition(topic.topic_id, Partition(index))
            gone = self.assignments.pop(at, None)
            if gone is not None:
                entry = api.AssignmentEntry(topic_id=at.topic_id.bytes, partition=at.partition)
                changes.append(api.Change(removed=True, assignment=entry))
        self._tell(*changes)
        return topic

    def _assign(self, assignment: Assignment) -> api.Change:
        at = TopicPartition(assignment.topic_id, assignment.partition)
        self.assignments[at] = assignment
        return api.Change(
            assignment=api.AssignmentEntry(
                topic_id=at.topic_id.bytes,
                partition=at.partition,
                assignment=convert.assignment_message(assignment),
            )
        )

    def _tell(self, *changes: api.Change) -> None:
        self.revision += 1
        if self.silent:
            return
        self._events.append(
            api.WatchEvent(revision=self.revision, changes=changes, cluster_id="test-cluster")
        )
        self._changed.set()
        self._changed = trio.Event()

    def _check(self) -> None:
        if self.unavailable:
            raise Unavailable("metadata is away", reason=Reason.METADATA_UNAVAILABLE)

    # The service

    async def Watch(self, stream: "Stream[api.WatchRequest, api.WatchEvent]") -> None:  # noqa: N802
        await stream.recv_message()
        await stream.send_message(
            api.WatchEvent(revision=1, snapshot=True, changes=[], cluster_id="test-cluster")
        )
        sent = 0
        while True:
            changed = self._changed
            while sent < len(self._events):
                sent += 1
                await stream.send_message(self._events[sent - 1])
            await changed.wait()

    async def RegisterGateway(  # noqa: N802
        self, stream: "Stream[api.RegisterGatewayRequest, api.RegisterReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        self._check()
        gateway = convert.gateway(request.gateway)
        broker_id = gateway.broker_id if gateway.broker_id >= 0 else len(self.gateways) + 1
        self.add_gateway(replace(gateway, broker_id=broker_id))  # type: ignore[arg-type]
        await stream.send_message(
            api.RegisterReply(lease_id=7, lease_ms=6000, broker_id=broker_id, revision=self.revision)
        )

    async def KeepAlive(  # noqa: N802
        self, stream: "Stream[api.KeepAliveRequest, api.KeepAliveReply]"
    ) -> None:
        await stream.recv_message()
        self._check()
        await stream.send_message(api.KeepAliveReply(lease_ms=6000))

    async def Deregister(  # noqa: N802
        self, stream: "Stream[api.DeregisterRequest, api.DeregisterReply]"
    ) -> None:
        await stream.recv_message()
        self._check()
        await stream.send_message(api.DeregisterReply())

    async def CreateTopics(  # noqa: N802
        self, stream: "Stream[api.CreateTopicsRequest, api.CreateTopicsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        self._check()
        self.created.append([each.name for each in request.topics])
        reply = api.CreateTopicsReply()
        for each in request.topics:
            if each.name in self.topics:
                error = Invalid(f"{each.name} exists", reason=Reason.TOPIC_ALREADY_EXISTS)
                reply.topics.add(error=to_proto(error))
            elif "bad.setting" in each.configs:
                error = Invalid("no such setting: bad.setting", reason=Reason.INVALID_CONFIG)
                reply.topics.add(error=to_proto(error))
            elif request.validate_only:
                topic = Topic(
                    name=TopicName(each.name),
                    topic_id=TopicId(UUID(int=0)),
                    partitions=max(each.partitions, 1),
                    configs=dict(each.configs),
                )
                reply.topics.add(topic=convert.topic_message(topic))
            else:
                topic = self.create(each.name, max(each.partitions, 1))
                topic = replace(topic, configs=dict(each.configs))
                self.topics[topic.name] = topic
                self._tell(api.Change(topic=convert.topic_message(topic)))
                reply.topics.add(topic=convert.topic_message(topic))
        await stream.send_message(reply)

    async def GetTopics(  # noqa: N802
        self, stream: "Stream[api.GetTopicsRequest, api.GetTopicsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        self._check()
        if self.outdated:
            raise Invalid("no such method", reason=Reason.UNSUPPORTED_VERSION)
        self.looked_up.append(sorted(each.name for each in request.topics))
        found = [
            topic
            for topic in self.topics.values()
            if any(
                each.name == topic.name or each.topic_id == topic.topic_id.bytes for each in request.topics
            )
        ]
        await stream.send_message(api.GetTopicsReply(topics=map(convert.topic_message, found)))

    async def DeleteTopics(  # noqa: N802
        self, stream: "Stream[api.DeleteTopicsRequest, api.DeleteTopicsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        self._check()
        reply = api.DeleteTopicsReply()
        for each in request.topics:
            found = [
                topic
                for topic in self.topics.values()
                if topic.name == each.name or topic.topic_id.bytes == each.topic_id
            ]
            if found:
                topic = self.delete(found[0].name)
                reply.topics.add(name=topic.name, topic_id=topic.topic_id.bytes)
            else:
                reply.topics.add(error=to_proto(NotFound("no such topic")), name=each.name)
        await stream.send_message(reply)

    async def UpdateTopic(  # noqa: N802
        self, stream: "Stream[api.UpdateTopicRequest, api.UpdateTopicReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        self._check()
        self.updates += 1
        if self.hold_updates is not None:
            await self.hold_updates.wait()
        before = self.topics.get(TopicName(request.name))
        if before is None:
            raise NotFound(f"there is no topic {request.name!r}")
        topic = changed(before, update(request, None))
        if topic is not before and not request.validate_only:
            self.topics[topic.name] = topic = replace(topic, live=True)
            self._tell(api.Change(topic=convert.topic_message(topic)))
            self._tell(*self._assign_missing(topic))
        done = UpdatedTopic(topic=topic, revision=Revision(self.revision), changed=topic is not before)
        await stream.send_message(updated_message(done))

    async def AllocateProducerIds(  # noqa: N802
        self, stream: "Stream[api.AllocateProducerIdsRequest, api.AllocateProducerIdsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        self._check()
        first, self.next_producer_id = self.next_producer_id, self.next_producer_id + request.count
        await stream.send_message(api.AllocateProducerIdsReply(first=first, count=request.count))

    async def _unused(self, stream: Any) -> None:
        raise AssertionError("gateways never call this")

    RegisterOwner = GetPartition = OpenPartition = CommitPartition = ReleasePartition = _unused
    MarkSessionSealed = DrainOwner = GetReferences = ForgetCollected = Snapshot = _unused


@dataclass
class Cluster:
    metadata: FakeMetadata
    owners: list[FakeOwner]
    watcher: ClusterWatcher
    client: MetadataClient
    connect: Callable[[str], AbstractAsyncContextManager[grpclib.client.Channel]]
    groups: Any
    down: set[str] = field(default_factory=set)

    def owner_of(self, at: TopicPartition) -> FakeOwner:
        owner_id = self.metadata.assignments[at].owner_id
        return next(owner for owner in self.owners if owner.owner_id == owner_id)

    async def wait_seen(self) -> None:
        """Until the gateway's view has all that metadata told."""
        await self.watcher.wait_until(lambda view: view.revision >= self.metadata.revision)


@asynccontextmanager
async def open_cluster(*, owners: int = 1, groups: Any = None) -> AsyncIterator[Cluster]:
    metadata = FakeMetadata()
    servers: dict[str, Server] = {METADATA: Server([metadata])}
    fakes: list[FakeOwner] = []
    for index in range(owners):
        owner = metadata.add_owner(f"owner-{index}")
        fakes.append(FakeOwner(metadata.assignments, owner.owner_id))
        servers[owner.address] = Server([fakes[-1]])
    down: set[str] = set()

    @asynccontextmanager
    async def connect(address: str) -> AsyncIterator[grpclib.client.Channel]:
        if address in down:
            raise Unavailable(f"{address} is down")
        async with memory_channel(servers[address]) as channel:
            yield channel

    rand = SeededRand("gateway")
    async with (
        open_watcher(name="test", addresses=[METADATA], connect=connect, rand=rand) as watcher,
        open_metadata_client([METADATA], connect) as client,
    ):
        await watcher.wait_ready()
        yield Cluster(
            metadata=metadata,
            owners=fakes,
            watcher=watcher,
            client=client,
            connect=connect,
            groups=groups,
            down=down,
        )


@dataclass
class Served:
    cluster: Cluster
    gateway: GatewayService
    port: int
    nursery: trio.Nursery


@asynccontextmanager
async def open_served(*, owners: int = 1, groups: Any = None, **options: Any) -> AsyncIterator[Served]:
    """A gateway on an ephemeral port of 127.0.0.1, before a fake cluster."""
    async with open_cluster(owners=owners, groups=groups) as cluster:
        settings = GatewayOptions(kafka_port=0, **options)
        async with open_gateway(
            settings,
            gateway_id=GatewayId("gateway-0"),
            watcher=cluster.watcher,
            metadata=cluster.client,
            groups=cluster.groups,
            connect=cluster.connect,
            clock=SystemClock(),
            rand=SeededRand("gateway"),
            recorder=SilentRecorder(),
        ) as gateway:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = int(listeners[0].socket.getsockname()[1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(gateway.serve_kafka, listeners)
                await gateway.wait_ready()
                yield Served(cluster=cluster, gateway=gateway, port=port, nursery=nursery)
                nursery.cancel_scope.cancel()
