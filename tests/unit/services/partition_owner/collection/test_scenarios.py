"""Whole owners over hours of mock time: chains, folders and topics empty out, and nothing needed goes."""

from collections.abc import Mapping

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import KafscaleError
from libs.model.ids import TopicName
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import ObjectStore
from libs.segments.keys import chain_object_key, session_prefix
from services.metadata import keys
from services.metadata.kv.port import Delete
from services.partition_owner.collection.chains import list_all
from tests.support.orphans import bucket_orphans, sessions_in
from tests.support.owners import EPOCH_MS, OwnerCluster, batch, open_owner_cluster, tp_of
from tests.support.producing import History, Producer, check, wait_readable

OPTIONS: Mapping[str, float] = {
    "compaction_age_seconds": 20.0,
    "compaction_behind_seconds": 5.0,
    "compaction_check_seconds": 2.0,
    "collection_check_seconds": 10.0,
    "collection_delay_seconds": 10.0,
    "collection_sweep_seconds": 600.0,
}
PLAN = FaultPlan(
    latency_seconds=(0.005, 0.08),
    slow_rate=0.02,
    slow_seconds=(0.5, 3.0),
    lost_request_rate=0.01,
    lost_reply_rate=0.02,
    late_put_rate=0.02,
    late_put_seconds=(0.5, 100.0),
    timeout_seconds=1.0,
    burst_rate=0.005,
)


async def keys_of(store: ObjectStore, prefix: str = "") -> list[str]:
    return [each.key for each in await list_all(store, prefix)]


async def wait_collected(cluster: OwnerCluster, within_seconds: float = 7200.0) -> None:
    """Until no chain is left but those of live owners, and no orphan. Fails with what is left and why."""
    orphans: dict[str, str] = {}
    with trio.move_on_after(within_seconds):
        while True:
            await trio.sleep(60)
            live = {owner.session for owner in cluster.owners.values()}
            objects = await keys_of(cluster.store, "wal/")
            found = await cluster.client.get_references(sessions=sorted(sessions_in(objects)))
            left = {each.session for each in found.sessions.values() if each.recorded} - live
            orphans = await bucket_orphans(cluster.store, cluster.client)
            if not orphans and not left:
                return
            orphans |= {f"wal/{session}/": "not collected to its end" for session in left}
    raise AssertionError(orphans)


async def test_a_live_chain_is_freed_behind_its_partitions(autojump_clock: MockClock) -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with open_owner_cluster(memory, []) as cluster:
        owner = await cluster.start("a", options=OPTIONS)
        topic = await cluster.create_topic("orders")
        history = History()
        await Producer(cluster, tp_of(topic), 1, history).run(200, 0.5)
        await trio.sleep(600)
        left = [key for key in await keys_of(memory, session_prefix(owner.session)) if key.endswith(".wal")]
        assert left == []
        check(history, await wait_readable(cluster, tp_of(topic)), complete=200)
        before = await keys_of(memory)
        await trio.sleep(4000)
        assert await keys_of(memory) == before  # silence
        await wait_collected(cluster)


async def test_a_dead_chain_is_collected_to_its_end(autojump_clock: MockClock) -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with open_owner_cluster(memory, []) as cluster:
        first = await cluster.start("a", options=OPTIONS)
        tp = tp_of(await cluster.create_topic("orders"))
        history = History()
        await Producer(cluster, tp, 1, history).run(100, 0.01)
        session = first.session
        await cluster.start("b", options=OPTIONS)
        await first.kill()
        await Producer(cluster, tp, 2, history).run(10, 0.01)
        await wait_collected(cluster)
        seal, marker = await keys_of(memory, session_prefix(session))
        assert seal.removesuffix(".wal")[-20:] == marker[-20:]
        found = await cluster.client.get_references(sessions=[session], collectable=True)
        assert not found.sessions[session].recorded
        assert found.dead_sessions == ()
        check(history, await wait_readable(cluster, tp), complete=110)


async def test_a_paused_owner_wakes_after_its_chain_was_collected(autojump_clock: MockClock) -> None:
    """Longer than collection: what it sends meets the seal, and what it had in flight hurts nobody."""
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with trio.open_nursery() as network, open_owner_cluster(memory, []) as cluster:
        slow = FaultyObjectStore(memory, plan=FaultPlan(), rand=SeededRand(1), nursery=network)
        zombie = await cluster.start("a", store=slow, options=OPTIONS)
        topic = await cluster.create_topic("orders")
        tp = tp_of(topic)
        history = History()
        await Producer(cluster, tp, 1, history).run(50, 0.01)
        session, (_, epoch) = zombie.session, await cluster.wait_open(tp)
        appends = await cluster.appends(zombie)
        # Its next PUTs travel for long; it hears and says nothing meanwhile.
        slow.plan = FaultPlan(latency_seconds=(1000.0, 1010.0), timeout_seconds=2000.0)
        late = [appends.send(tp, epoch, batch(f"late {number}")) for number in range(3)]
        await trio.sleep(1)
        zombie.link.cut()
        await cluster.start("b", options=OPTIONS)
        heir, next_epoch = await cluster.wait_open(tp, not_on="a")
        heirs = await cluster.appends(heir)
        assert [await heirs.append(tp, next_epoch, batch(f"2:{number}")) for number in range(10)] == [
            *range(50, 60)
        ]
        await trio.sleep(800)
        assert len(await keys_of(memory, session_prefix(session))) == 2  # collected: its seal and marker
        slow.plan = FaultPlan()
        await trio.sleep(400)  # what was on its way has landed, or met the seal
        for key in late:
            assert isinstance(await appends.outcome(key), KafscaleError)
        assert zombie.session != session
        zombie.link.heal()
        values = await wait_readable(cluster, tp)
        assert not [value for value in values if value.startswith("late")]
        check(history, [value for value in values if value.startswith("1:")], complete=50)
        await wait_collected(cluster)
        network.cancel_scope.cancel()


async def test_a_deleted_topic_leaves_nothing_while_owners_compact(autojump_clock: MockClock) -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    rand = SeededRand("deleted")
    async with trio.open_nursery() as network, open_owner_cluster(memory, []) as cluster:
        store = FaultyObjectStore(memory, plan=PLAN, rand=rand, nursery=network)
        for name in ("a", "b"):
            await cluster.start(name, store=store, options=OPTIONS)
        kept, gone = await cluster.create_topic("kept", 2), await cluster.create_topic("gone", 4)
        history = History()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Producer(cluster, tp_of(kept), 1, history).run, 200, 0.2)
            for partition in range(4):
                nursery.start_soon(Producer(cluster, tp_of(gone, partition), 1, History()).run, 100, 0.2)
        await cluster.client.delete_topics([TopicName("gone")])
        again = await cluster.create_topic("gone", 1)
        other = History()
        await Producer(cluster, tp_of(again), 1, other).run(20, 0.1)
        store.plan = FaultPlan()
        await wait_collected(cluster)
        assert not [key for key in await keys_of(memory) if str(gone.topic_id) in key and "meta/" not in key]
        check(history, await wait_readable(cluster, tp_of(kept)), complete=200)
        check(other, await wait_readable(cluster, tp_of(again)), complete=20)
        assert not (await cluster.client.get_references(collectable=True)).deleted_topics
        network.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(4))
async def test_collection_beside_kills_on_a_faulty_store(seed: int, autojump_clock: MockClock) -> None:
    """Partitions open on others while chains are freed: nothing acknowledged is lost, no orphan stays."""
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    rand = SeededRand(f"collection/{seed}")
    async with trio.open_nursery() as network, open_owner_cluster(memory, []) as cluster:
        store = FaultyObjectStore(memory, plan=PLAN, rand=rand, nursery=network)
        options = {**OPTIONS, "compaction_age_seconds": 3.0, "collection_check_seconds": 1.0}
        options |= {"collection_delay_seconds": 0.0, "collection_sweep_seconds": 30.0}
        for name in ("a", "b", "c"):
            await cluster.start(name, store=store, options=options)
        topic = await cluster.create_topic("orders", 2)
        histories = [History(), History()]

        async def kill_and_restart() -> None:
            for _ in range(5):
                await trio.sleep(rand.uniform(2.0, 12.0))
                name = rand.choice(sorted(cluster.owners))
                if rand.random() < 0.5:
                    await cluster.owners[name].kill()
                    await trio.sleep(rand.uniform(0.0, 8.0))
                    await cluster.start(name, store=store, options=options)
                else:
                    owner = cluster.owners[name]
                    owner.link.cut()
                    await trio.sleep(rand.uniform(5.0, 30.0))
                    owner.link.heal()

        async with trio.open_nursery() as nursery:
            for partition, history in enumerate(histories):
                for producer_id in (1, 2):
                    producer = Producer(cluster, tp_of(topic, partition), producer_id, history)
                    nursery.start_soon(producer.run, 150, 0.1)
            nursery.start_soon(kill_and_restart)
        store.plan = FaultPlan()
        await wait_collected(cluster)
        for partition, history in enumerate(histories):
            check(history, await wait_readable(cluster, tp_of(topic, partition)), complete=300)
        network.cancel_scope.cancel()


async def test_an_owner_that_survives_a_wiped_store_keeps_its_old_chain(autojump_clock: MockClock) -> None:
    """It begins a new session: the old one must not be recorded in a store that names nothing of it."""
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with open_owner_cluster(memory, []) as cluster:
        owner = await cluster.start("a", options={**OPTIONS, "compaction_age_seconds": 10_000.0})
        tp = tp_of(await cluster.create_topic("orders"))
        await Producer(cluster, tp, 1, History()).run(20, 0.01)
        session, kv = owner.session, cluster.metadata.kv
        before = await keys_of(memory, session_prefix(session))
        owner.link.cut()
        await trio.sleep(60)  # its lease is over
        for prefix in (keys.SESSIONS, keys.TOPICS, keys.ASSIGNMENTS, keys.PARTITIONS):
            for item in (await kv.range(prefix)).items:
                await kv.txn([], [Delete(key=item.key)])
        owner.link.heal()
        await trio.sleep(7200)
        assert owner.session != session
        assert await keys_of(memory, session_prefix(session)) == before
        await cluster.wait_open(tp_of(await cluster.create_topic("orders")))


async def test_a_damaged_partition_does_not_keep_the_chain_of_who_tries_to_open_it(
    autojump_clock: MockClock,
) -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with open_owner_cluster(memory, []) as cluster:
        first = await cluster.start("a", options=OPTIONS)
        damaged = tp_of(await cluster.create_topic("damaged"))
        _, epoch = await cluster.wait_open(damaged)
        await (await cluster.appends(first)).append(damaged, epoch, batch("x"))
        session = first.session
        await first.kill()
        await memory.put(chain_object_key(session, 0), b"rubbish")
        owner = await cluster.start("b", options=OPTIONS)
        history = History()
        await Producer(cluster, tp_of(await cluster.create_topic("orders")), 1, history).run(200, 0.5)
        await trio.sleep(600)
        left = [key for key in await keys_of(memory, session_prefix(owner.session)) if key.endswith(".wal")]
        assert left == []
