"""Fetches end to end: one wait set, min and max bytes, cancel, reports, offsets, epochs, cold reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from libs.clients.owner import FetchCall, FetchedPartition, FetchStream
from libs.concurrency.clock import LoopClock
from libs.model.errors import Fenced, Invalid, KafscaleError, Moved, Reason
from libs.model.ids import Partition, TopicPartition
from libs.objectstore.memory import MemoryObjectStore
from libs.records import split_batches
from libs.rpc import memory_channel
from tests.support.owners import (
    EPOCH_MS,
    Appends,
    OwnerCluster,
    RunningOwner,
    batch,
    fetch,
    list_offset,
    open_owner_cluster,
    part,
    tp_of,
)
from tests.support.producing import read_all


class Served:
    """One owner with a topic of two partitions, and a stream to append."""

    def __init__(
        self, cluster: OwnerCluster, owner: RunningOwner, tps: list[TopicPartition], epoch: int
    ) -> None:
        self.cluster = cluster
        self.owner = owner
        self.tps = tps
        self.epoch = epoch
        self.appends: Appends | None = None

    async def append(self, data: bytes, *, to: int = 0) -> int:
        if self.appends is None:
            self.appends = await self.cluster.appends(self.owner)
        return await self.appends.append(self.tps[to], self.epoch, data)


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), []) as cluster:
        owner = await cluster.start("a")
        topic = await cluster.create_topic("orders", 2)
        tps = [tp_of(topic, 0), tp_of(topic, 1)]
        epochs = {(await cluster.wait_open(tp))[1] for tp in tps}
        yield Served(cluster, owner, tps, epochs.pop())


class Parked:
    """A fetch on a stream of its own that the test watches."""

    def __init__(self, count: int) -> None:
        self.reports: list[int] = []
        self.result: list[FetchedPartition] | KafscaleError | None = None
        self.done = trio.Event()
        self.stream = FetchStream()
        self.call = FetchCall(size=count, on_available=self.reports.append, on_done=self._on_done)

    def _on_done(self, result: list[FetchedPartition] | KafscaleError) -> None:
        self.result = result
        self.done.set()

    async def run(self, owner: RunningOwner) -> None:
        async with memory_channel(owner.server) as channel:
            await self.stream.run(channel)


async def test_parked_until_there_are_min_bytes(autojump_clock: MockClock) -> None:
    async with served() as made, trio.open_nursery() as nursery:
        one = len(batch("x" * 100))
        parked = Parked(2)
        parked.stream.start_nowait(
            [part(tp, 0) for tp in made.tps],
            parked.call,
            min_bytes=3 * one,
            max_bytes=1 << 20,
            max_wait_ms=60_000,
            report_available=True,
        )
        nursery.start_soon(parked.run, made.owner)
        began = trio.current_time()
        await made.append(batch("x" * 100))
        await trio.sleep(1)
        assert parked.reports == [one]
        await made.append(batch("y" * 100), to=1)
        await trio.sleep(1)
        assert parked.reports == [one, 2 * one]
        assert not parked.done.is_set()
        await made.append(batch("z" * 100), to=1)
        await parked.done.wait()
        assert trio.current_time() - began < 5
        assert isinstance(parked.result, list)
        assert [len(each.records) for each in parked.result] == [one, 2 * one]
        assert [each.high_watermark for each in parked.result] == [1, 2]
        nursery.cancel_scope.cancel()


async def test_max_wait_and_cancel_answer_with_what_there_is(autojump_clock: MockClock) -> None:
    async with served() as made, trio.open_nursery() as nursery:
        await made.append(batch("x"))
        began = trio.current_time()
        (found,) = await fetch(made.owner, part(made.tps[0], 1), min_bytes=1000, max_wait_ms=700)
        assert 0.69 < trio.current_time() - began < 1
        assert (found.error, found.records, found.high_watermark) == (None, b"", 1)
        parked = Parked(1)
        parked.stream.start_nowait(
            [part(made.tps[0], 0)],
            parked.call,
            min_bytes=1000,
            max_bytes=1 << 20,
            max_wait_ms=60_000,
            report_available=False,
        )
        nursery.start_soon(parked.run, made.owner)
        await trio.sleep(1)
        assert not parked.done.is_set()
        parked.stream.cancel_nowait(parked.call)
        await parked.done.wait()
        assert isinstance(parked.result, list)
        assert parked.result[0].records
        nursery.cancel_scope.cancel()


async def test_an_error_in_one_partition_ends_the_wait(autojump_clock: MockClock) -> None:
    async with served() as made:
        await made.append(batch("x"))
        began = trio.current_time()
        unknown = TopicPartition(made.tps[0].topic_id, Partition(9))
        first, second = await fetch(
            made.owner, part(made.tps[0], 0), part(unknown, 0), min_bytes=10_000, max_wait_ms=60_000
        )
        assert trio.current_time() - began < 1
        assert first.records
        assert isinstance(second.error, Moved)


async def test_leader_epochs(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS))) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        first, _ = await cluster.wait_open(tp)
        await first.kill()
        owner, epoch = await cluster.wait_open(tp)
        assert epoch > 0
        for asked, reason in (
            (epoch + 1, Reason.UNKNOWN_LEADER_EPOCH),
            (epoch, None),
            (epoch - 1, Reason.FENCED_LEADER_EPOCH),
        ):
            (found,) = await fetch(owner, part(tp, 0, epoch=asked), max_wait_ms=0)
            if reason is None:
                assert found.error is None
            else:
                assert isinstance(found.error, Fenced)
                assert found.error.reason is reason


async def test_above_the_frontier_is_out_of_range_only_after_a_fence(autojump_clock: MockClock) -> None:
    async with served() as made:
        await made.append(batch("x"))
        before = made.owner.recorder.objects
        found, other = await fetch(made.owner, part(made.tps[0], 5), part(made.tps[1], 1), max_wait_ms=0)
        for each in (found, other):
            assert isinstance(each.error, Invalid)
            assert each.error.reason is Reason.OFFSET_OUT_OF_RANGE
        assert made.owner.recorder.objects > before
        before = made.owner.recorder.objects
        (found,) = await fetch(made.owner, part(made.tps[0], 1), max_wait_ms=0)
        assert found.error is None
        assert made.owner.recorder.objects == before  # the end itself needs no proof


async def test_a_sealed_owner_never_says_out_of_range(autojump_clock: MockClock) -> None:
    """It met its successor's seal: the consumer is at a valid offset that only the successor knows."""
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS))) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        stale, _ = await cluster.wait_open(tp)
        stale.link.cut()
        heir, epoch = await cluster.wait_open(tp, not_on=stale.name)
        appends = await cluster.appends(heir)
        for number in range(3):
            await appends.append(tp, epoch, batch(f"{number}"))
        (found,) = await fetch(stale, part(tp, 3))
        assert isinstance(found.error, Moved)
        (found,) = await fetch(heir, part(tp, 3), max_wait_ms=0)
        assert found.error is None


@pytest.mark.parametrize(
    ("max_bytes", "partition_bytes", "counts"),
    [(1 << 20, 1 << 20, [3, 3]), (1 << 20, 250, [1, 1]), (250, 1 << 20, [1, 0]), (10, 10, [1, 0])],
)
async def test_limits(
    max_bytes: int, partition_bytes: int, counts: list[int], autojump_clock: MockClock
) -> None:
    """Whole batches of 170 bytes; the first partition gets at least one (KIP-74)."""
    async with served() as made:
        for to in (0, 1):
            for _ in range(3):
                await made.append(batch("x" * 100), to=to)
        found = await fetch(
            made.owner, *(part(tp, 0, max_bytes=partition_bytes) for tp in made.tps), max_bytes=max_bytes
        )
        assert [len(split_batches(each.records)) for each in found] == counts


async def test_cold_reads_share_objects_and_blocks(autojump_clock: MockClock) -> None:
    """A successor has nothing in memory: it reads what its predecessor wrote, in order, within its bound."""
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), []) as cluster:
        first = await cluster.start("a", options={"object_bytes_target": 64 * 1024})
        topic = await cluster.create_topic("orders", 2)
        tps = [tp_of(topic, 0), tp_of(topic, 1)]
        epochs = [(await cluster.wait_open(tp))[1] for tp in tps]
        appends = await cluster.appends(first)
        keys = [
            appends.send(tp, epoch, batch(f"{tp.partition}:{number}" + "x" * 30_000))
            for number in range(40)
            for tp, epoch in zip(tps, epochs, strict=True)
        ]
        for key in keys:
            await appends.outcome(key)
        small = {"cold_block_bytes": 64 * 1024, "cold_cache_bytes_max": 1 << 20}
        second = await cluster.start("b", options=small)
        await first.kill()
        for tp in tps:
            await cluster.wait_open(tp)
            values = await read_all(second, tp)
            assert [value.rstrip("x") for value in values] == [f"{tp.partition}:{n}" for n in range(40)]
        cold = second.service.statistics().cold
        assert cold.used_bytes <= 1 << 20
        assert cold.gets > 0
        assert cold.hits > 0


async def test_a_closed_partition_wakes_its_readers(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS))) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        owner, _ = await cluster.wait_open(tp)
        began = trio.current_time()
        found: list[FetchedPartition] = []

        async def park() -> None:
            found.extend(await fetch(owner, part(tp, 0), max_wait_ms=60_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(park)
            await trio.sleep(1)
            await owner.service.control().drain([], all_assigned=True, reason="test", deadline_seconds=10)
        assert isinstance(found[0].error, Moved)
        assert trio.current_time() - began < 10


async def test_list_offsets() -> None:
    """The ends, and by timestamp down to the record; -3 is the record with the greatest timestamp.

    On the real clock: it looks into batches in a thread, which a mock clock does not wait for.
    """
    async with served() as made:
        tp = made.tps[0]
        times = [1000, 3000, 2000, 5000, 4000]
        assert (await list_offset(made.owner, tp, -3)).offset == -1
        for time in times:
            await made.append(batch(f"{time}", f"{time}b", timestamp_ms=time))
        for timestamp, offset, found_ms in (
            (-1, 10, -1),
            (-2, 0, -1),
            (-4, 0, -1),
            (-3, 6, 5000),
            (0, 0, 1000),
            (1000, 0, 1000),
            (1001, 2, 3000),
            (3001, 6, 5000),
            (5001, -1, -1),
        ):
            found = await list_offset(made.owner, tp, timestamp)
            assert found.error is None
            assert (found.offset, found.timestamp_ms) == (offset, found_ms), timestamp
        assert isinstance((await list_offset(made.owner, tp, -9)).error, Invalid)
