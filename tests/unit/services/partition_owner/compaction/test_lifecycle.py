"""What is appended becomes segments and stays what it was: owners, kills, takeovers, under a mock clock."""

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import Invalid, Reason
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.memory import MemoryObjectStore
from services.partition_owner.compaction.background import Background
from services.partition_owner.config import OwnerOptions
from tests.support.owners import (
    EPOCH_MS,
    batch,
    fetch,
    list_offset,
    open_owner_cluster,
    part,
    tp_of,
)
from tests.support.producing import History, Producer, check, read_all, wait_readable
from tests.unit.services.partition_owner.compaction.support import (
    EAGER,
    HookedStore,
    compaction,
    delete_records,
    read_from,
    restart,
    wait_compacted,
)
from tests.unit.services.partition_owner.test_takeover import PLAN

EARLIEST, LATEST = -2, -1


async def test_a_quiet_cluster_is_compacted_once_and_then_silent(autojump_clock: MockClock) -> None:
    store = HookedStore()
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders", 3)
        owner, epoch = await cluster.wait_open(tp_of(topic, 2))
        appends = await cluster.appends(owner)
        for number in range(20):
            for partition in (0, 1):
                tp = tp_of(topic, partition)
                await appends.append(tp, epoch, batch(f"{number}", producer=(7, 0, number)))
        await trio.sleep(660)
        found = compaction(owner)
        assert (found.uncompacted_bytes, found.segments, found.seconds_behind) == (0, 2, 0.0)
        assert sorted(key.rsplit(".", 1)[1] for key in store.compacted_keys()) == sorted(
            ["index", "kfs", "kfm"] * 2
        )
        written, revision = len(store.put_keys), cluster.metadata.replicas["m"].service.statistics().revision
        await trio.sleep(3600)
        assert len(store.put_keys) == written
        assert cluster.metadata.replicas["m"].service.statistics().revision == revision


async def test_one_look_at_all_partitions_is_for_all_that_are_due(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each of them is more than an owner of a thousand has time for."""
    looks = 0
    look_around = Background._look_around

    def counted(self: Background) -> None:
        nonlocal looks
        looks += 1
        look_around(self)

    async with open_owner_cluster(HookedStore(), ["a"]) as cluster:
        topic = await cluster.create_topic("orders", 100)
        for partition in range(100):
            await cluster.wait_open(tp_of(topic, partition))
        monkeypatch.setattr(Background, "_look_around", counted)
        options = OwnerOptions()
        await trio.sleep(options.retention_check_seconds)  # each was due once
        # A look finds those that became due since the last one, and a second look that these were all.
        assert looks <= 2 * options.retention_check_seconds / options.compaction_check_seconds + 2


async def test_duplicates_are_known_after_compaction_and_takeover(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        owner = await cluster.start("a", options=EAGER)
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(20):
            await appends.append(tp, epoch, batch(f"{number}", producer=(7, 0, number)))
        await wait_compacted(owner)
        assert await appends.append(tp, epoch, batch("19", producer=(7, 0, 19))) == 19
        await restart(cluster, owner, "b")
        owner, epoch = await cluster.wait_open(tp)
        assert await read_all(owner, tp) == [str(number) for number in range(20)]
        appends = await cluster.appends(owner)
        for number in range(15, 20):
            assert await appends.append(tp, epoch, batch(f"{number}", producer=(7, 0, number))) == number
        with pytest.raises(Invalid) as caught:
            await appends.append(tp, epoch, batch("22", producer=(7, 0, 22)))
        assert caught.value.reason is Reason.OUT_OF_ORDER_SEQUENCE
        assert await appends.append(tp, epoch, batch("20", producer=(7, 0, 20))) == 20


async def test_a_takeover_leaves_short_chains_behind(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        owner = await cluster.start("a", options={**EAGER, "compaction_age_seconds": 3600.0})
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(5):
            await appends.append(tp, epoch, batch(f"{number}"))
        await trio.sleep(60)
        assert compaction(owner).segments == 0
        await restart(cluster, owner, "b")
        owner, epoch = await cluster.wait_open(tp)
        await wait_compacted(owner, segments=1)
        state = (await cluster.client.get_partition(tp)).state
        assert state is not None
        assert [each.session for each in state.positions] == [owner.session]
        appends = await cluster.appends(owner)
        await appends.append(tp, epoch, batch("5"))
        assert await read_all(owner, tp) == [str(number) for number in range(6)]


@pytest.mark.parametrize("seed", range(4))
async def test_kills_beside_compaction(seed: int, autojump_clock: MockClock) -> None:
    """Idempotent producers on a faulty store, owners that die and compact all the time."""
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    rand = SeededRand(f"compaction/{seed}")
    async with trio.open_nursery() as network, open_owner_cluster(memory, []) as cluster:
        store = FaultyObjectStore(memory, plan=PLAN, rand=rand, nursery=network)
        for name in ("a", "b", "c"):
            await cluster.start(name, store=store, options=EAGER)
        topic = await cluster.create_topic("orders", 2)
        histories = [History(), History()]

        async def disturb() -> None:
            for _ in range(5):
                await trio.sleep(rand.uniform(2.0, 8.0))
                if rand.random() < 0.4:
                    tp = tp_of(topic, rand.integer(0, 1))
                    owner, _ = await cluster.wait_open(tp)
                    await owner.service.control().drain(
                        [tp], all_assigned=False, reason="test", deadline_seconds=30
                    )
                    continue
                name = rand.choice(sorted(cluster.owners))
                await cluster.owners[name].kill()
                await trio.sleep(rand.uniform(0.0, 8.0))
                await cluster.start(name, store=store, options=EAGER)

        async with trio.open_nursery() as nursery:
            for partition, history in enumerate(histories):
                for producer_id in (1, 2):
                    producer = Producer(cluster, tp_of(topic, partition), producer_id, history)
                    nursery.start_soon(producer.run, 150, 0.1)
            nursery.start_soon(disturb)
        store.plan = FaultPlan()
        for partition, history in enumerate(histories):
            check(history, await wait_readable(cluster, tp_of(topic, partition)), complete=300)
        await trio.sleep(60)
        assert sum(compaction(owner).uncompacted_bytes for owner in cluster.owners.values()) == 0
        for partition, history in enumerate(histories):
            check(history, await wait_readable(cluster, tp_of(topic, partition)), complete=300)
        network.cancel_scope.cancel()


STEPS = [(suffix, when) for suffix in (".index", ".kfs", ".kfm") for when in ("before", "after")]


@pytest.mark.parametrize(("suffix", "when"), STEPS)
@pytest.mark.parametrize("end", ["kill", "drain"])
async def test_an_end_at_each_step(suffix: str, when: str, end: str, autojump_clock: MockClock) -> None:
    """A kill or a hand-over while compaction is just there: the heir has everything, and compacts it."""
    store = HookedStore()
    async with open_owner_cluster(store, []) as cluster, trio.open_nursery() as nursery:
        owner = await cluster.start("a", options=EAGER)
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        await cluster.start("b", options={**EAGER, "compaction_age_seconds": 3600.0})
        reached, held = trio.Event(), trio.Event()

        async def hold(key: str) -> None:
            if key.endswith(suffix) and not reached.is_set():
                reached.set()
                await held.wait()

        setattr(store, when, hold)
        appends = await cluster.appends(owner)
        for number in range(10):
            await appends.append(tp, epoch, batch(f"{number}", producer=(7, 0, number)))
        with trio.fail_after(60):
            await reached.wait()
        began = trio.current_time()
        if end == "kill":
            await owner.kill()
        else:
            await owner.service.control().drain([tp], all_assigned=False, reason="test", deadline_seconds=30)
            assert trio.current_time() - began < 1, "a hand-over does not wait for compaction"
        heir, epoch = await cluster.wait_open(tp, not_on="a")
        held.set()
        assert await read_all(heir, tp) == [str(number) for number in range(10)]
        appends = await cluster.appends(heir)
        assert await appends.append(tp, epoch, batch("9", producer=(7, 0, 9))) == 9
        assert await appends.append(tp, epoch, batch("10", producer=(7, 0, 10))) == 10
        await restart(cluster, heir, "c")
        heir, _ = await cluster.wait_open(tp, not_on="b")
        await wait_compacted(heir, segments=1 if end == "kill" else None)
        assert await read_all(heir, tp) == [str(number) for number in range(11)]
        nursery.cancel_scope.cancel()


async def test_small_segments_become_larger_ones(autojump_clock: MockClock) -> None:
    store = HookedStore()
    async with open_owner_cluster(store, []) as cluster:
        owner = await cluster.start("a", options=EAGER)
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(12):
            await appends.append(tp, epoch, batch(f"{number}" * 1000))
            await wait_compacted(owner)
        await trio.sleep(5)
        found = compaction(owner)
        assert found.counts.merges >= 5
        assert found.segments <= 2
        assert await read_all(owner, tp) == [f"{number}" * 1000 for number in range(12)]
        assert found.dropped_waiting == 0 or found.dropped_waiting >= found.counts.merges
        written = len(store.put_keys)
        await trio.sleep(600)
        assert len(store.compacted_keys()) <= written


async def test_delete_records(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        owner = await cluster.start("a", options=EAGER)
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(10):
            await appends.append(tp, epoch, batch(f"{number}a", f"{number}b", producer=(7, 0, 2 * number)))
        await wait_compacted(owner, segments=1)
        for number in range(10, 15):
            await appends.append(tp, epoch, batch(f"{number}a", f"{number}b", producer=(7, 0, 2 * number)))
        assert await delete_records(owner, tp, 5) == 5
        assert await delete_records(owner, tp, 3) == 5
        assert (await list_offset(owner, tp, EARLIEST)).offset == 5
        (below,) = await fetch(owner, part(tp, 4), max_wait_ms=0)
        assert isinstance(below.error, Invalid)
        refused = await delete_records(owner, tp, 31)
        assert isinstance(refused, Invalid)
        assert refused.reason is Reason.OFFSET_OUT_OF_RANGE
        assert isinstance(await delete_records(owner, tp, -2), Invalid)
        values = await read_from(owner, tp, 5)
        assert values == {offset: f"{offset // 2}{'ab'[offset % 2]}" for offset in range(5, 30)}
        await restart(cluster, owner, "b")
        owner, epoch = await cluster.wait_open(tp)
        assert await read_from(owner, tp, 5) == values
        assert await delete_records(owner, tp, 25) == 25
        await wait_compacted(owner)
        assert await delete_records(owner, tp, -1) == 30
        await trio.sleep(10)
        assert compaction(owner).segments == 0
        await restart(cluster, owner, "c")
        owner, epoch = await cluster.wait_open(tp)
        found = [(await list_offset(owner, tp, which)).offset for which in (EARLIEST, LATEST)]
        assert found == [30, 30]
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("14a", "14b", producer=(7, 0, 28))) == 28
        assert await appends.append(tp, epoch, batch("15a", producer=(7, 0, 30))) == 30


async def test_what_was_deleted_is_not_copied(autojump_clock: MockClock) -> None:
    """Records below the log start when compaction gets to them; their producers are known all the same."""
    store = HookedStore()
    async with open_owner_cluster(store, []) as cluster:
        owner = await cluster.start("a", options=EAGER)
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(5):
            await appends.append(tp, epoch, batch(f"{number}", producer=(7, 0, number)))
        assert await delete_records(owner, tp, -1) == 5
        await wait_compacted(owner)
        assert store.compacted_keys((".kfs",)) == []
        assert len(store.compacted_keys((".kfm",))) == 1
        await restart(cluster, owner, "b")
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("4", producer=(7, 0, 4))) == 4
        assert await appends.append(tp, epoch, batch("5", producer=(7, 0, 5))) == 5


async def test_only_a_topic_that_deletes_lets_records_be_deleted(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options=EAGER)
        configs = {"cleanup.policy": "compact", "retention.ms": "1000", "retention.bytes": "1"}
        tp = tp_of(await cluster.create_topic("state", configs=configs))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        await appends.append(tp, epoch, batch("x"))
        refused = await delete_records(owner, tp, -1)
        assert isinstance(refused, Invalid)
        assert refused.reason is Reason.POLICY_VIOLATION
        await trio.sleep(600)
        assert await read_from(owner, tp, 0) == {0: "x"}


async def test_retention_by_time(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options={**EAGER, "compaction_merge_factor": 64})
        tp = tp_of(await cluster.create_topic("orders", configs={"retention.ms": "60000"}))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(10):
            await appends.append(tp, epoch, batch(f"{number}", timestamp_ms=cluster.clock.now_ms()))
            await trio.sleep(10)
        log_start = (await list_offset(owner, tp, EARLIEST)).offset
        assert 2 <= log_start <= 5
        assert await read_from(owner, tp, log_start) == {n: f"{n}" for n in range(log_start, 10)}
        await trio.sleep(80)
        assert (await list_offset(owner, tp, EARLIEST)).offset == 10
        assert compaction(owner).segments == 0
        assert compaction(owner).retained_bytes > 0


async def test_retention_by_size(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options={**EAGER, "compaction_merge_factor": 64})
        tp = tp_of(await cluster.create_topic("orders", configs={"retention.bytes": "50000"}))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(20):
            await appends.append(tp, epoch, batch(f"{number}".ljust(10_000)))
            await trio.sleep(5)
        await trio.sleep(30)
        log_start = (await list_offset(owner, tp, EARLIEST)).offset
        assert log_start in (14, 15)
        await restart(cluster, owner, "b")
        owner, _ = await cluster.wait_open(tp)
        assert list(await read_from(owner, tp, log_start)) == list(range(log_start, 20))


async def test_retention_of_a_topic_that_does_not_say(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options={**EAGER, "default_retention_ms": 60_000})
        silent = tp_of(await cluster.create_topic("silent"))
        says = tp_of(await cluster.create_topic("says", configs={"retention.ms": "-1"}))
        for tp in (silent, says):
            owner, epoch = await cluster.wait_open(tp)
            appends = await cluster.appends(owner)
            await appends.append(tp, epoch, batch("x", timestamp_ms=cluster.clock.now_ms()))
        await trio.sleep(50)
        assert (await list_offset(owner, silent, EARLIEST)).offset == 0
        await trio.sleep(60)
        assert (await list_offset(owner, silent, EARLIEST)).offset == 1
        assert (await list_offset(owner, says, EARLIEST)).offset == 0


async def test_a_topic_made_again_is_empty(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        owner = await cluster.start("a", options=EAGER)
        topic = await cluster.create_topic("orders")
        owner, epoch = await cluster.wait_open(tp_of(topic))
        appends = await cluster.appends(owner)
        await appends.append(tp_of(topic), epoch, batch("old"))
        await wait_compacted(owner, segments=1)
        await cluster.client.delete_topics([topic.topic_id])
        again = await cluster.create_topic("orders")
        owner, epoch = await cluster.wait_open(tp_of(again))
        appends = await cluster.appends(owner)
        assert await appends.append(tp_of(again), epoch, batch("new")) == 0
        await trio.sleep(20)
        assert await read_all(owner, tp_of(again)) == ["new"]


async def test_an_idle_partition_does_not_hold_the_chain(autojump_clock: MockClock) -> None:
    """Its position moves on with the chain, else the first objects would be needed for ever."""
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options=EAGER)
        topic = await cluster.create_topic("orders", 2)
        owner, epoch = await cluster.wait_open(tp_of(topic, 1))
        appends = await cluster.appends(owner)
        for number in range(600):
            await appends.append(tp_of(topic, 0), epoch, batch(f"{number}"))
        await trio.sleep(10)
        state = (await cluster.client.get_partition(tp_of(topic, 1))).state
        assert state is not None
        assert state.positions[-1].from_seq > 256
