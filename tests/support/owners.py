"""Partition owners in one process, over real metadata replicas in memory and any object store; killable.

Owns: owners, their clients, killing and pausing them. Does not own: the metadata replicas, the store.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar
from uuid import UUID

import grpclib.client
import trio

from libs.clients.metadata import MetadataClient, TopicToCreate
from libs.clients.owner import (
    Appended,
    AppendStream,
    FetchCall,
    FetchedPartition,
    FetchPartition,
    FetchStream,
    ListedOffset,
    OffsetQuery,
    OwnerClient,
    PartitionAppend,
)
from libs.clients.watcher import ClusterWatcher, open_watcher
from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.concurrency.threads import Threads
from libs.model.cluster import Assignment, Topic
from libs.model.errors import KafscaleError, Unavailable
from libs.model.ids import LeaderEpoch, OwnerId, Partition, SessionId, StoreId, TopicName, TopicPartition
from libs.objectstore.port import ObjectReader, ObjectStore
from libs.rpc import Channel, Server, memory_channel
from proto.metadata_api.metadata_api_grpc import MetadataStub
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import KV
from services.partition_owner.config import OwnerOptions
from services.partition_owner.recorder import CountingRecorder
from services.partition_owner.service import PartitionOwner, open_partition_owner
from tests.sim.world.inline_threads import InlineThreads
from tests.support.metadata import MetadataCluster, open_metadata_cluster
from tests.support.records import Record, encode_batch

T = TypeVar("T")
EPOCH_MS = 1_700_000_000_000
ACK_SECONDS_MAX = 300.0
STORE_ID = StoreId(UUID(int=1))


class Link:
    """An owner's way to the metadata replicas; cut, nothing gets through and the watch breaks."""

    def __init__(self, metadata: MetadataCluster) -> None:
        self._metadata = metadata
        self._channels: set[Channel] = set()
        self._watches: set[grpclib.client.Channel] = set()
        self.is_cut = False
        self.is_deaf = False

    def cut(self) -> None:
        self.is_cut = True
        for channel in self._channels:
            channel.close()

    def deafen(self) -> None:
        """Calls go through, news do not."""
        self.is_deaf = True
        for channel in self._watches:
            channel.close()

    def heal(self) -> None:
        self.is_cut = False

    @asynccontextmanager
    async def watch(self, address: str) -> AsyncIterator[grpclib.client.Channel]:
        """The `Connect` of a watcher."""
        if self.is_deaf:
            raise Unavailable("news do not get through")
        async with self.connect(address) as channel:
            self._watches.add(channel)
            try:
                yield channel
            finally:
                self._watches.discard(channel)

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[grpclib.client.Channel]:
        """The `Connect` of clients. Each call has a channel of its own: see `LinkedMetadata`."""
        replica = self._metadata.replicas.get(address)
        if self.is_cut or replica is None:
            raise Unavailable("the network is cut")
        async with memory_channel(replica.server) as channel:
            self._channels.add(channel)
            try:
                yield channel
            finally:
                self._channels.discard(channel)


class LinkedMetadata(MetadataClient):
    """A client over a link: a new channel each call, so that it works again once the link is healed."""

    def __init__(self, link: Link, address: str) -> None:
        super().__init__([])
        self._link = link
        self._address = address

    async def _attempt(self, send: Callable[[MetadataStub], Awaitable[T]], *, resend_unknown: bool) -> T:
        async with self._link.connect(self._address) as channel:
            return await send(MetadataStub(channel))


class RunningOwner:
    """One owner process; `kill` ends it without a word, as kill -9 does."""

    def __init__(
        self,
        name: str,
        service: PartitionOwner,
        server: Server,
        watcher: ClusterWatcher,
        recorder: CountingRecorder,
        link: Link,
        scope: trio.CancelScope,
    ) -> None:
        self.name = name
        self.service = service
        self.server = server
        self.watcher = watcher
        self.recorder = recorder
        self.link = link
        self._scope = scope
        self.gone = trio.Event()

    async def kill(self) -> None:
        self._scope.cancel()
        await self.gone.wait()

    @property
    def session(self) -> SessionId:
        session = self.service.control().session
        assert session is not None
        return session

    def statuses(self) -> dict[TopicPartition, str]:
        return {each.tp: each.phase.value for each in self.service.control().partitions()}


class Appends:
    """One Append stream to one owner, as a gateway holds it: outcomes by (correlation id, index)."""

    def __init__(self) -> None:
        self.stream = AppendStream()
        self.outcomes: dict[tuple[int, int], Appended | KafscaleError] = {}
        self.broken: KafscaleError | None = None
        self._changed = trio.Event()

    async def run(
        self, server: Server, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            async with memory_channel(server) as channel:
                task_status.started()
                await self.stream.run(channel, self._on_reply)
        except KafscaleError as error:
            self.broken = error
            self._ring()

    def send(
        self, tp: TopicPartition, epoch: int, records: bytes, *, resume: bool = False
    ) -> tuple[int, int]:
        """Queues one append; returns the key of its outcome."""
        append = PartitionAppend(at=tp, leader_epoch=LeaderEpoch(epoch), records=records, resume=resume)
        return self.stream.append_nowait([append])[0]

    async def outcome(self, key: tuple[int, int]) -> Appended | KafscaleError:
        with trio.fail_after(ACK_SECONDS_MAX):
            while key not in self.outcomes:
                if self.broken is not None:
                    return self.broken
                await self._changed.wait()
        return self.outcomes[key]

    async def append(self, tp: TopicPartition, epoch: int, records: bytes) -> int:
        """Appends and returns the base offset. Raises the error."""
        outcome = await self.outcome(self.send(tp, epoch, records))
        if isinstance(outcome, KafscaleError):
            raise outcome
        return outcome.base_offset

    def _on_reply(self, correlation_id: int, index: int, outcome: Appended | KafscaleError) -> None:
        self.outcomes[(correlation_id, index)] = outcome
        self._ring()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class OwnerCluster:
    """Metadata, an object store and owners; time is Trio's, so that a mock clock rules all of it."""

    def __init__(
        self, metadata: MetadataCluster, store: ObjectStore, client: MetadataClient, nursery: trio.Nursery
    ) -> None:
        self.metadata = metadata
        self.store = store
        self.client = client
        self.owners: dict[str, RunningOwner] = {}
        self.clock = LoopClock(EPOCH_MS)
        self.threads: Threads = InlineThreads()
        """Of owners that are started from now on; with real ones a mock clock runs ahead of their work."""
        self._nursery = nursery
        self._started = 0

    async def start(
        self,
        name: str,
        *,
        store: ObjectStore | None = None,
        reads: ObjectReader | None = None,
        options: Mapping[str, float] | None = None,
        store_id: StoreId = STORE_ID,
    ) -> RunningOwner:
        """A ready owner. `options` are fields of OwnerOptions."""
        owner: RunningOwner = await self._nursery.start(
            self._run, name, store or self.store, reads, options or {}, store_id
        )
        self.owners[name] = owner
        await owner.service.wait_ready()
        return owner

    async def _run(
        self,
        name: str,
        store: ObjectStore,
        reads: ObjectReader | None,
        options: Mapping[str, float],
        store_id: StoreId,
        *,
        task_status: trio.TaskStatus[RunningOwner],
    ) -> None:
        self._started += 1
        recorder = CountingRecorder()
        with trio.CancelScope() as scope:
            async with AsyncExitStack() as stack:
                link = Link(self.metadata)
                (address,) = self.metadata.replicas
                client = LinkedMetadata(link, address)
                watcher = await stack.enter_async_context(
                    open_watcher(
                        name=name, addresses=[address], connect=link.watch, rand=SeededRand(f"watch/{name}")
                    )
                )
                service = await stack.enter_async_context(
                    open_partition_owner(
                        OwnerOptions.model_validate(dict(options)),
                        owner_id=OwnerId(name),
                        address=name,
                        store=store,
                        store_id=store_id,
                        reads=reads,
                        metadata=client,
                        watcher=watcher,
                        clock=self.clock,
                        rand=SeededRand(f"{name}/{self._started}"),
                        threads=self.threads,
                        recorder=recorder,
                    )
                )
                owner = RunningOwner(
                    name, service, Server(service.rpc_services()), watcher, recorder, link, scope
                )
                task_status.started(owner)
                await trio.sleep_forever()
        if self.owners.get(name) is owner:
            del self.owners[name]
        owner.gone.set()

    async def create_topic(
        self, name: str, partitions: int = 1, configs: Mapping[str, str] | None = None
    ) -> Topic:
        """The topic, once its partitions are assigned."""
        wanted = TopicToCreate(name=TopicName(name), partitions=partitions, configs=configs or {})
        (topic,) = await self.client.create_topics([wanted], validate_only=False, timeout_seconds=30.0)
        assert isinstance(topic, Topic), topic
        return topic

    async def wait_open(self, tp: TopicPartition, *, not_on: str = "") -> tuple[RunningOwner, int]:
        """The owner that serves the partition, and the leader epoch."""
        with trio.fail_after(ACK_SECONDS_MAX):
            while True:
                for owner in self.owners.values():
                    for each in owner.service.control().partitions():
                        if each.tp == tp and each.phase.value == "open" and owner.name != not_on:
                            return owner, each.leader_epoch
                await trio.sleep(0.05)

    async def assignment(self, tp: TopicPartition) -> Assignment:
        return (await self.client.get_partition(tp)).assignment

    async def appends(self, owner: RunningOwner) -> Appends:
        """An Append stream to that owner."""
        appends = Appends()
        await self._nursery.start(appends.run, owner.server)
        return appends


def tp_of(topic: Topic, partition: int = 0) -> TopicPartition:
    return TopicPartition(topic.topic_id, Partition(partition))


def batch(*values: str, producer: tuple[int, int, int] = (-1, -1, -1), timestamp_ms: int = EPOCH_MS) -> bytes:
    """A batch of these values. `producer`: id, epoch, base sequence."""
    return encode_batch(
        [Record(None, value.encode(), timestamp_ms) for value in values],
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
    )


async def fetch(
    owner: RunningOwner,
    *parts: FetchPartition,
    min_bytes: int = 1,
    max_bytes: int = 1 << 20,
    max_wait_ms: int = 500,
) -> list[FetchedPartition]:
    """One fetch on a stream of its own. Raises what the stream breaks with."""
    done = trio.Event()
    results: list[list[FetchedPartition] | KafscaleError] = []

    def on_done(result: list[FetchedPartition] | KafscaleError) -> None:
        results.append(result)
        done.set()

    stream = FetchStream()
    call = FetchCall(size=len(parts), on_available=lambda _bytes: None, on_done=on_done)
    stream.start_nowait(
        parts, call, min_bytes=min_bytes, max_bytes=max_bytes, max_wait_ms=max_wait_ms, report_available=False
    )
    async with memory_channel(owner.server) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(stream.run, channel)
        await done.wait()
        nursery.cancel_scope.cancel()
    (result,) = results
    if isinstance(result, KafscaleError):
        raise result
    return result


def part(tp: TopicPartition, offset: int, *, epoch: int = -1, max_bytes: int = 1 << 20) -> FetchPartition:
    return FetchPartition(at=tp, current_leader_epoch=epoch, fetch_offset=offset, max_bytes=max_bytes)


async def list_offset(owner: RunningOwner, tp: TopicPartition, timestamp: int) -> ListedOffset:
    async with memory_channel(owner.server) as channel:
        query = OffsetQuery(at=tp, current_leader_epoch=-1, timestamp=timestamp)
        return (await OwnerClient(channel).list_offsets([query]))[0]


@asynccontextmanager
async def open_owner_cluster(
    store: ObjectStore, owners: Sequence[str] = ("a", "b"), *, kv: KV | None = None, replica: str = "m"
) -> AsyncIterator[OwnerCluster]:
    """A metadata replica (on an empty store unless one is given), and ready owners of these names.

    The seeded chance of a name gives the same ids each time: a cluster's next life needs other names.
    """
    async with (
        open_metadata_cluster(kv or MemoryKV(), replica) as metadata,
        metadata.client() as client,
        trio.open_nursery() as nursery,
    ):
        cluster = OwnerCluster(metadata, store, client, nursery)
        for name in owners:
            await cluster.start(name)
        yield cluster
        nursery.cancel_scope.cancel()
