"""The tools on a bucket that compacts, merges, collects, deletes topics and loses owners all the time."""

import random

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock, ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Topic
from libs.objectstore.memory import MemoryObjectStore
from libs.records import iter_batches
from services.metadata.kv.memory import MemoryKV
from tests.support.owners import (
    EPOCH_MS,
    OwnerCluster,
    batch,
    fetch,
    open_owner_cluster,
    part,
    tp_of,
)
from tests.support.records import decode_batch
from tools.bucket.fix import fix
from tools.bucket.rebuild import RebuildOptions, rebuild
from tools.bucket.verify import verify
from tools.bucket.work import Options

QUICK = {
    "compaction_age_seconds": 10.0,
    "compaction_behind_seconds": 5.0,
    "compaction_check_seconds": 1.0,
    "compaction_merge_factor": 2,
    "collection_check_seconds": 5.0,
    "collection_delay_seconds": 5.0,
    "collection_sweep_seconds": 60.0,
    "retention_check_seconds": 5.0,
    "snapshot_seconds": 20.0,
}
PARTITIONS = 3


class Life:
    """What was acknowledged, by partition."""

    def __init__(self, cluster: OwnerCluster, topic: Topic) -> None:
        self.cluster = cluster
        self.topic = topic
        self.values: dict[int, list[str]] = {partition: [] for partition in range(PARTITIONS)}

    async def produce(self, partition: int) -> None:
        tp = tp_of(self.topic, partition)
        values = self.values[partition]
        value = f"{partition}.{len(values)}"
        owner, epoch = await self.cluster.wait_open(tp)
        assert await (await self.cluster.appends(owner)).append(tp, epoch, batch(value)) == len(values)
        values.append(value)

    async def read(self, cluster: OwnerCluster) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for partition in range(PARTITIONS):
            tp = tp_of(self.topic, partition)
            owner, _ = await cluster.wait_open(tp)
            values: list[str] = []
            while True:
                (fetched,) = await fetch(owner, part(tp, len(values)), max_wait_ms=1)
                assert fetched.error is None, fetched.error
                records = [
                    (at, record.value or b"")
                    for each in iter_batches(fetched.records)
                    for at, record in decode_batch(each.data)
                ]
                new = [value.decode() for at, value in records if at >= len(values)]
                if not new:
                    break
                values += new
            found[partition] = values
        return found


async def live(
    cluster: OwnerCluster, life: Life, chance: random.Random, *, turns: int, names: str = "o"
) -> None:
    """Produces, ages, kills and starts owners, deletes topics."""
    for turn in range(turns):
        for _ in range(6):
            await life.produce(chance.randrange(PARTITIONS))
        if turn % 3 == 1:
            name = f"{names}{turn}"
            await cluster.start(name, options=QUICK)
            await trio.sleep(1)
            victim = chance.choice([each for each in cluster.owners if each != name])
            await cluster.owners[victim].kill()
        if turn % 3 == 2:
            # Deleted just before a wipe it may come back: so its name is never used again.
            other = await cluster.create_topic(f"other-{sum(map(len, life.values.values()))}")
            tp = tp_of(other)
            owner, epoch = await cluster.wait_open(tp)
            await (await cluster.appends(owner)).append(tp, epoch, batch("x"))
            await trio.sleep(chance.choice([1, 15]))
            await cluster.client.delete_topics([other.name])
        await trio.sleep(chance.uniform(1, 12))


@pytest.mark.parametrize("seed", range(2))
async def test_the_verifier_never_says_a_false_word_and_nothing_is_left(
    seed: int, autojump_clock: MockClock
) -> None:
    store, chance = MemoryObjectStore(LoopClock(EPOCH_MS)), random.Random(seed)
    async with open_owner_cluster(store, ()) as cluster, trio.open_nursery() as nursery:
        await cluster.start("a", options=QUICK)
        life = Life(cluster, await cluster.create_topic("orders", partitions=PARTITIONS))

        async def look() -> None:
            while True:
                for metadata in (cluster.client, None):
                    assert (await verify(store, metadata)).findings == ()
                await trio.sleep(chance.uniform(0.5, 5))

        nursery.start_soon(look)
        await live(cluster, life, chance, turns=7)
        nursery.cancel_scope.cancel()
        await trio.sleep(600)
        report = await verify(store, cluster.client, options=Options(orphans=True))
        assert report.findings == ()
        assert report.seen["segment"].objects >= PARTITIONS
        assert await fix(store, cluster.client, tell=lambda _line: None) == {}
        assert await life.read(cluster) == life.values


@pytest.mark.parametrize("seed", range(2))
async def test_a_wiped_store_is_rebuilt_at_any_moment_of_it(seed: int, autojump_clock: MockClock) -> None:
    store, chance, kv = MemoryObjectStore(LoopClock(EPOCH_MS)), random.Random(seed), MemoryKV()
    values: dict[int, list[str]] = {}
    topic: Topic | None = None
    for round_ in range(3):
        async with open_owner_cluster(store, (), kv=kv, replica=f"m{round_}") as cluster:
            await cluster.start(f"r{round_}", options=QUICK)
            if topic is None:
                topic = await cluster.create_topic("orders", partitions=PARTITIONS)
            life = Life(cluster, topic)
            life.values |= values
            assert await life.read(cluster) == life.values
            await live(cluster, life, chance, turns=3, names=f"r{round_}-o")
            values = life.values
        kv = MemoryKV()
        await rebuild(
            store,
            kv,
            options=RebuildOptions(),
            clock=ManualClock(EPOCH_MS * 2),
            rand=SeededRand(f"rebuild/{round_}"),
        )
    async with open_owner_cluster(store, (), kv=kv) as cluster:
        await cluster.start("last", options=QUICK)
        life = Life(cluster, topic or await cluster.create_topic("never"))
        assert await life.read(cluster) == values
        await trio.sleep(900)
        assert (await verify(store, cluster.client)).findings == ()
        assert (await verify(store, options=Options(sample=0.5))).findings == ()
