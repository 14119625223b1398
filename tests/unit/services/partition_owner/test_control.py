"""What an operator asks of an owner: status, drains, flushes; and what SIGTERM asks."""

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.model.errors import Invalid, NotFound, Reason
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import chain_object_key, session_prefix
from libs.segments.seal import Seal, parse_chain_object
from tests.support.owners import EPOCH_MS, batch, open_owner_cluster, tp_of
from tests.support.producing import read_all
from tests.support.scripted_store import ScriptedStore


def memory() -> MemoryObjectStore:
    return MemoryObjectStore(LoopClock(EPOCH_MS))


async def test_status_tells_the_frontiers(autojump_clock: MockClock) -> None:
    store = ScriptedStore()
    store.holding = False
    async with open_owner_cluster(store, ["a"]) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        await appends.append(tp, epoch, batch("x"))
        store.holding = True
        key = appends.send(tp, epoch, batch("y", "z"))
        (put,) = await store.wait_puts(1)
        control = owner.service.control()
        (status,) = control.partitions()
        assert (status.topic, status.tp, status.leader_epoch) == ("orders", tp, epoch)
        assert status.phase.value == "open"
        frontiers = (status.log_start_offset, status.high_watermark, status.in_flight_offset)
        assert (*frontiers, status.assigned_offset) == (0, 1, 3, 3)
        assert control.buffered_bytes == len(batch("y", "z"))
        put.land()
        await appends.outcome(key)
        assert control.buffered_bytes == 0


async def test_flush_makes_durable_now_what_the_budget_would_hold(autojump_clock: MockClock) -> None:
    store = ScriptedStore()
    store.holding = False
    options = {"flush_puts_per_second": 0.0, "flush_puts_burst": 1.0, "flush_age_ms_max": 60_000}
    async with open_owner_cluster(store, []) as cluster:
        owner = await cluster.start("a", options=options)
        topic = await cluster.create_topic("orders", 2)
        tps = [tp_of(topic, 0), tp_of(topic, 1)]
        epochs = [(await cluster.wait_open(tp))[1] for tp in tps]
        appends = await cluster.appends(owner)
        store.holding = True
        first = appends.send(tps[0], epochs[0], batch("x"))
        await store.wait_puts(1)
        second = appends.send(tps[1], epochs[1], batch("y"))
        await trio.sleep(1)
        assert len(store.puts) == 1
        control = owner.service.control()
        flushed: list[object] = []

        async def flush() -> None:
            flushed.extend(await control.flush([]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush)
            for put in await store.wait_puts(2):
                put.land()
        assert flushed == sorted(tps)
        for key in (first, second):
            await appends.outcome(key)
        assert await control.flush([]) == []


async def test_drain_of_named_partitions(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(memory()) as cluster:
        topic = await cluster.create_topic("orders", 4)
        tps = [tp_of(topic, index) for index in range(4)]
        owners = {tp: (await cluster.wait_open(tp))[0] for tp in tps}
        owner = owners[tps[0]]
        control = owner.service.control()
        result = await control.drain(
            [control.find("orders", 0)], all_assigned=False, reason="test", deadline_seconds=10
        )
        assert (result.drained, result.pending) == ((tps[0],), ())
        other, _ = await cluster.wait_open(tps[0], not_on=owner.name)
        assert other is not owner
        with pytest.raises(Invalid):
            await control.drain([tps[0]], all_assigned=False, reason="test", deadline_seconds=10)
        with pytest.raises(Invalid):
            await control.drain([], all_assigned=False, reason="test", deadline_seconds=10)
        with pytest.raises(NotFound):
            control.find("orders", 9)
        with pytest.raises(NotFound):
            control.find("nothing", 0)


async def test_a_single_owner_is_told_that_nobody_can_take_over(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(memory(), ["a"]) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        with pytest.raises(Invalid) as caught:
            await owner.service.control().drain([], all_assigned=True, reason="test", deadline_seconds=10)
        assert caught.value.reason is Reason.NOBODY_CAN_TAKE_OVER
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("still here")) == 0


async def test_the_last_owner_seals_its_chain_when_it_stops(autojump_clock: MockClock) -> None:
    """What was accepted is acknowledged, and the next start waits for no lease."""
    store = memory()
    async with open_owner_cluster(store, ["a"]) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        keys = [appends.send(tp, epoch, batch(f"{number}")) for number in range(10)]
        session = owner.session
        await trio.lowlevel.checkpoint()
        await owner.service.drain(20.0)
        for number, key in enumerate(keys):
            outcome = await appends.outcome(key)
            assert getattr(outcome, "base_offset", outcome) == number
        stored = {each.key for each in (await store.list(session_prefix(session))).objects}
        end = max(seq for seq in range(20) if chain_object_key(session, seq) in stored)
        assert isinstance(parse_chain_object(await store.get(chain_object_key(session, end))), Seal)
        await owner.kill()
        began = trio.current_time()
        owner = await cluster.start("a")
        await cluster.wait_open(tp)
        assert trio.current_time() - began < 1.5
        assert len(await read_all(owner, tp)) == 10


async def test_stopping_one_of_two_hands_everything_over(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(memory()) as cluster:
        topic = await cluster.create_topic("orders", 8)
        tps = [tp_of(topic, index) for index in range(8)]
        for tp in tps:
            await cluster.wait_open(tp)
        owner = cluster.owners["a"]
        mine = set(owner.statuses())
        assert mine
        await owner.service.drain(20.0)
        assert not owner.statuses()
        await owner.kill()
        for tp in tps:
            found, _ = await cluster.wait_open(tp)
            assert found.name == "b"
