"""Owners die, pause and come back, on a store that fails: nothing acknowledged is lost, and all is there
once, in order.
"""

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.memory import MemoryObjectStore
from tests.support.owners import EPOCH_MS, OwnerCluster, open_owner_cluster, tp_of
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
