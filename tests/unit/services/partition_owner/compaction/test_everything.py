"""All at once: faults in both stores, kills, hand-overs, compaction, collection, deletions, readers."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import Invalid, KafscaleError
from libs.model.ids import TopicPartition
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.memory import MemoryObjectStore
from libs.records import iter_batches
from tests.support.kv import FaultyKV
from tests.support.owners import (
    EPOCH_MS,
    OwnerCluster,
    batch,
    fetch,
    list_offset,
    open_owner_cluster,
    part,
    tp_of,
)
from tests.support.producing import History, Producer
from tests.support.records import decode_batch
from tests.unit.services.partition_owner.compaction.support import EAGER, delete_records, read_from
from tests.unit.services.partition_owner.test_takeover import PLAN

HASTY = {
    **EAGER,
    "tail_cache_bytes_max": 1 << 20,
    "cold_cache_bytes_max": 1 << 20,
    "segment_bytes_max": 64 << 10,
    "compaction_bytes_target": 64 << 10,
    "collection_check_seconds": 1.0,
    "collection_delay_seconds": 2.0,
    "collection_sweep_seconds": 10.0,
}
EARLIEST = -2
RECORDS = 150


class Scene:
    """One seed: owners on faulty stores, and what was learned of one partition."""

    def __init__(
        self, cluster: OwnerCluster, store: FaultyObjectStore, kv: FaultyKV, rand: SeededRand
    ) -> None:
        self.cluster = cluster
        self.store = store
        self.kv = kv
        self.rand = rand
        self.seen: dict[int, str] = {}
        self.log_start = 0
        """The greatest that was told."""

    async def disturb(self, tps: list[TopicPartition], times: int) -> None:
        for _ in range(times):
            await trio.sleep(self.rand.uniform(1.0, 5.0))
            self.kv.lost_replies += self.rand.integer(0, 2)
            self.kv.lost_requests += self.rand.integer(0, 2)
            await self.rand.choice((self.kill, self.drain, self.drain))(tps)

    async def kill(self, tps: list[TopicPartition]) -> None:
        name = self.rand.choice(sorted(self.cluster.owners))
        await self.cluster.owners[name].kill()
        await trio.sleep(self.rand.uniform(0.0, 8.0))
        await self.cluster.start(name, store=self.store, options=HASTY)

    async def drain(self, tps: list[TopicPartition]) -> None:
        tp = self.rand.choice(tps)
        owner, _ = await self.cluster.wait_open(tp)
        try:
            await owner.service.control().drain([tp], all_assigned=False, reason="test", deadline_seconds=10)
        except KafscaleError:
            return

    async def delete(self, tp: TopicPartition) -> None:
        """Deletes a little now and then."""
        while True:
            await trio.sleep(self.rand.uniform(0.5, 4.0))
            owner, _ = await self.cluster.wait_open(tp)
            try:
                told = await delete_records(owner, tp, self.log_start + self.rand.integer(0, 15))
            except KafscaleError:
                continue
            if not isinstance(told, KafscaleError):
                assert told >= self.log_start, "the log start went back"
                self.log_start = told

    async def read(self, tp: TopicPartition) -> None:
        """Reads anywhere, for ever: an offset has one value."""
        while True:
            await trio.sleep(self.rand.uniform(0.0, 0.6))
            owner, _ = await self.cluster.wait_open(tp)
            end = max(self.seen, default=-1) + 1
            offset = self.rand.integer(min(self.log_start, end), end)
            try:
                (found,) = await fetch(owner, part(tp, offset, max_bytes=5000), max_wait_ms=0)
                if isinstance(found.error, Invalid):
                    earliest = await list_offset(owner, tp, EARLIEST)
                    assert earliest.error is not None or offset < earliest.offset, (
                        "a valid offset was refused"
                    )
            except KafscaleError:
                continue
            for each in iter_batches(found.records):
                for at, record in decode_batch(each.data):
                    value = (record.value or b"").decode()
                    assert self.seen.setdefault(at, value) == value, f"offset {at} has two values"

    async def append_noise(self, tp: TopicPartition) -> None:
        """Pushes everybody's records out of the tail cache."""
        while True:
            owner, epoch = await self.cluster.wait_open(tp)
            appends = await self.cluster.appends(owner)
            try:
                while True:
                    await appends.append(tp, epoch, batch("n" * 50_000))
                    await trio.sleep(0.3)
            except KafscaleError:
                await trio.sleep(0.2)


async def settled(call: Callable[[], Awaitable[None]]) -> None:
    """Tries until it succeeds."""
    with trio.fail_after(600):
        while True:
            try:
                await call()
            except KafscaleError:
                await trio.sleep(0.5)
            else:
                return


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_lost_whatever_happens(seed: int, autojump_clock: MockClock) -> None:
    memory, kv = MemoryObjectStore(LoopClock(EPOCH_MS)), FaultyKV()
    rand = SeededRand(f"everything/{seed}")
    async with trio.open_nursery() as network, open_owner_cluster(memory, [], kv=kv) as cluster:
        store = FaultyObjectStore(memory, plan=PLAN, rand=rand, nursery=network)
        for name in ("a", "b", "c"):
            await cluster.start(name, store=store, options=HASTY)
        topic = await cluster.create_topic("orders", 2)
        tp, noise = tp_of(topic, 0), tp_of(topic, 1)
        scene, history = Scene(cluster, store, kv, rand), History()
        async with trio.open_nursery() as background:
            for task in (scene.read, scene.read, scene.delete):
                background.start_soon(task, tp)
            background.start_soon(scene.append_noise, noise)
            async with trio.open_nursery() as nursery:
                for producer_id in (1, 2, 3):
                    nursery.start_soon(Producer(cluster, tp, producer_id, history).run, 50, 0.3)
                nursery.start_soon(scene.disturb, [tp, noise], 5)
            store.plan = FaultPlan()
            await trio.sleep(10)
            background.cancel_scope.cancel()

        async def judge() -> None:
            owner, _ = await cluster.wait_open(tp)
            start = (await list_offset(owner, tp, EARLIEST)).offset
            assert start >= scene.log_start
            values = await read_from(owner, tp, start)
            judge_values(values, start, history, scene.seen)

        await settled(judge)
        assert len(history.acked) == RECORDS
        network.cancel_scope.cancel()


def judge_values(values: dict[int, str], start: int, history: History, seen: dict[int, str]) -> None:
    """Acknowledged records are where they were acknowledged, once, in order, as they were read before."""
    assert sorted(values) == list(range(start, start + len(values)))
    assert len(values) + start == RECORDS
    for value, offset in history.acked.items():
        assert offset < start or values[offset] == value
    for offset, value in seen.items():
        assert offset < start or values[offset] == value
    everything = {**seen, **values}
    last: dict[str, int] = {}
    for offset in sorted(everything):
        producer, _, sequence = everything[offset].partition(":")
        assert int(sequence) > last.get(producer, -1), "out of order, or twice"
        last[producer] = int(sequence)
