"""Owners die, pause and come back, on a store that fails: nothing acknowledged is lost, and all is there
once, in order.
"""

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import Moved, Unavailable
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.memory import MemoryObjectStore
from tests.support.owners import EPOCH_MS, OwnerCluster, batch, open_owner_cluster, tp_of
from tests.support.producing import History, Producer, check, wait_readable

PLAN = FaultPlan(
    latency_seconds=(0.005, 0.08),
    slow_rate=0.02,
    slow_seconds=(0.5, 3.0),
    lost_request_rate=0.01,
    lost_reply_rate=0.02,
    late_put_rate=0.02,
    late_put_seconds=(0.5, 20.0),
    timeout_seconds=1.0,
    burst_rate=0.005,
)


class CountingStore(MemoryObjectStore):
    """Another store's objects; remembers which were read."""

    def __init__(self, other: MemoryObjectStore) -> None:
        self.__dict__.update(other.__dict__)
        self.gets: list[str] = []
        self.suffixes: list[str] = []

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self.gets.append(key)
        return await super().get(key, start=start, length=length)

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        self.suffixes.append(key)
        return await super().get_suffix(key, length)


async def kill_and_restart(
    cluster: OwnerCluster, store: FaultyObjectStore, rand: SeededRand, times: int
) -> None:
    """Ends owners at random and starts them again under their names."""
    for _ in range(times):
        await trio.sleep(rand.uniform(2.0, 12.0))
        name = rand.choice(sorted(cluster.owners))
        await cluster.owners[name].kill()
        await trio.sleep(rand.uniform(0.0, 8.0))
        await cluster.start(name, store=store)


@pytest.mark.parametrize("seed", range(6))
async def test_kills_on_a_faulty_store(seed: int, autojump_clock: MockClock) -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    rand = SeededRand(seed)
    async with trio.open_nursery() as network, open_owner_cluster(memory, []) as cluster:
        store = FaultyObjectStore(memory, plan=PLAN, rand=rand, nursery=network)
        for name in ("a", "b", "c"):
            await cluster.start(name, store=store)
        topic = await cluster.create_topic("orders", 2)
        histories = [History(), History()]
        async with trio.open_nursery() as nursery:
            for partition, history in enumerate(histories):
                for producer_id in (1, 2):
                    producer = Producer(cluster, tp_of(topic, partition), producer_id, history)
                    nursery.start_soon(producer.run, 150, 0.1)
            nursery.start_soon(kill_and_restart, cluster, store, rand, 4)
        store.plan = FaultPlan()
        for partition, history in enumerate(histories):
            check(history, await wait_readable(cluster, tp_of(topic, partition)), complete=300)
        assert store.counts.lost_replies or store.counts.late_puts
        network.cancel_scope.cancel()


async def test_a_zombie_acknowledges_nothing_once_it_is_sealed(autojump_clock: MockClock) -> None:
    """An owner that lost metadata goes on serving (promise 6) until its heir's seal meets it (rule 7)."""
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS))) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        zombie, epoch = await cluster.wait_open(tp)
        history = History()
        appends = await cluster.appends(zombie)
        await Producer(cluster, tp, 1, history).run(5)
        zombie.link.cut()
        kept = [await appends.append(tp, epoch, batch(f"z:{number}")) for number in range(3)]
        assert kept == [5, 6, 7]
        heir, next_epoch = await cluster.wait_open(tp, not_on=zombie.name)
        heirs = await cluster.appends(heir)
        assert await heirs.append(tp, next_epoch, batch("2:0")) == 8
        session = zombie.session
        with pytest.raises(Unavailable) as caught:
            await appends.append(tp, epoch, batch("lost"))
        assert caught.value.outcome_unknown
        with pytest.raises(Moved):
            await appends.append(tp, epoch, batch("lost too"))
        assert zombie.session != session
        zombie.link.heal()
        with trio.fail_after(60):
            await heir.watcher.wait_until(
                lambda view: zombie.session in {each.session for each in view.owners.values()}
            )
        values = await wait_readable(cluster, tp)
        assert values == [*(f"1:{n}" for n in range(5)), "z:0", "z:1", "z:2", "2:0"]


@pytest.mark.parametrize("seed", range(4))
async def test_zombies_beside_their_heirs(seed: int, autojump_clock: MockClock) -> None:
    """Producers keep to whoever answers them, while owners lose metadata and find it again."""
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    rand = SeededRand(f"zombies/{seed}")
    async with trio.open_nursery() as network, open_owner_cluster(memory, []) as cluster:
        store = FaultyObjectStore(memory, plan=PLAN, rand=rand, nursery=network)
        for name in ("a", "b", "c"):
            await cluster.start(name, store=store)
        tp = tp_of(await cluster.create_topic("orders"))
        history = History()

        async def cut_and_heal() -> None:
            for _ in range(5):
                await trio.sleep(rand.uniform(1.0, 6.0))
                owner = cluster.owners[rand.choice(sorted(cluster.owners))]
                owner.link.cut()
                await trio.sleep(rand.uniform(5.0, 12.0))
                owner.link.heal()

        async with trio.open_nursery() as nursery:
            for producer_id in range(4):
                nursery.start_soon(Producer(cluster, tp, producer_id, history).run, 150, 0.02)
            nursery.start_soon(cut_and_heal)
        store.plan = FaultPlan()
        check(history, await wait_readable(cluster, tp), complete=600)
        network.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(3))
async def test_hand_overs_under_load(seed: int, autojump_clock: MockClock) -> None:
    """Drains beside producers and a slow store: nobody sees an unknown outcome."""
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    rand = SeededRand(f"hand-over/{seed}")
    plan = FaultPlan(latency_seconds=(0.005, 0.08), slow_rate=0.05, slow_seconds=(0.2, 1.0))
    async with trio.open_nursery() as network, open_owner_cluster(memory, []) as cluster:
        store = FaultyObjectStore(memory, plan=plan, rand=rand, nursery=network)
        for name in ("a", "b"):
            await cluster.start(name, store=store)
        topic = await cluster.create_topic("orders", 4)
        tps = [tp_of(topic, partition) for partition in range(4)]
        histories = {tp: History() for tp in tps}

        async def drain() -> None:
            for _ in range(4):
                await trio.sleep(rand.uniform(1.0, 3.0))
                tp = rand.choice(tps)
                owner, _ = await cluster.wait_open(tp)
                began = trio.current_time()
                result = await owner.service.control().drain(
                    [tp], all_assigned=False, reason="test", deadline_seconds=30
                )
                assert result.drained == (tp,)
                assert trio.current_time() - began < 3

        async with trio.open_nursery() as nursery:
            for tp, history in histories.items():
                nursery.start_soon(Producer(cluster, tp, 1, history).run, 200, 0.02)
            nursery.start_soon(drain)
        for tp, history in histories.items():
            check(history, await wait_readable(cluster, tp), complete=200)
            assert history.unknown == 0
        network.cancel_scope.cancel()


async def test_takeover_reads_indexes_once_for_all_partitions(autojump_clock: MockClock) -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    counting = CountingStore(memory)
    async with open_owner_cluster(memory, ["a"]) as cluster:
        topic = await cluster.create_topic("orders", 20)
        tps = [tp_of(topic, partition) for partition in range(20)]
        first = cluster.owners["a"]
        appends = await cluster.appends(first)
        epochs = {tp: (await cluster.wait_open(tp))[1] for tp in tps}
        for number in range(200):
            tp = tps[number % 20]
            await appends.append(tp, epochs[tp], batch(f"{number}"))
        await cluster.start("b", store=counting)
        await first.kill()
        for tp in tps:
            await cluster.wait_open(tp)
            assert len(await wait_readable(cluster, tp)) == 10
        indexes = [key for key in counting.gets if key.endswith(".idx")]
        assert len(indexes) == len(set(indexes)) == 3
        footers = [key for key in counting.suffixes if key.endswith(".wal")]
        assert len(set(footers)) == len([key for key in footers if footers.count(key) <= 2])
