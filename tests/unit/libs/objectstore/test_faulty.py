"""Faults: each kind does what it says, and one seed gives one history."""

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import NotFound, Unavailable
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import PutResult


@pytest.fixture
def memory() -> MemoryObjectStore:
    return MemoryObjectStore(ManualClock())


def faulty(memory: MemoryObjectStore, plan: FaultPlan, nursery: trio.Nursery) -> FaultyObjectStore:
    return FaultyObjectStore(memory, plan=plan, rand=SeededRand(1), nursery=nursery)


async def failed_put(store: FaultyObjectStore) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await store.put_if_absent("a", b"1")
    return caught.value


async def test_a_lost_reply_was_a_success(
    memory: MemoryObjectStore, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = faulty(memory, FaultPlan(lost_reply_rate=1.0), nursery)
    assert (await failed_put(store)).outcome_unknown
    assert await memory.get("a") == b"1"
    with pytest.raises(Unavailable) as caught:
        await store.get("a")
    assert not caught.value.outcome_unknown


async def test_a_lost_request_was_none(
    memory: MemoryObjectStore, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = faulty(memory, FaultPlan(lost_request_rate=1.0), nursery)
    assert (await failed_put(store)).outcome_unknown
    await trio.sleep(1000)
    with pytest.raises(NotFound):
        await memory.get("a")


async def test_a_write_that_arrives_twice(
    memory: MemoryObjectStore, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = faulty(memory, FaultPlan(doubled_rate=1.0, late_put_seconds=(30, 60)), nursery)
    assert await store.put_if_absent("a", b"1") is PutResult.CREATED
    await memory.delete(["a"])
    await trio.sleep(29)
    with pytest.raises(NotFound):
        await memory.get("a")
    await trio.sleep(32)
    assert await memory.get("a") == b"1"
    await store.delete(["a"])
    await memory.put("a", b"2")
    await trio.sleep(61)
    with pytest.raises(NotFound):
        await memory.get("a")
    assert store.counts.doubled == 2


async def test_a_late_put_lands_after_its_writer_gave_up(
    memory: MemoryObjectStore, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = faulty(memory, FaultPlan(late_put_rate=1.0, late_put_seconds=(30, 60)), nursery)
    started = trio.current_time()
    assert (await failed_put(store)).outcome_unknown
    assert trio.current_time() - started == pytest.approx(store.plan.timeout_seconds)
    await trio.sleep(29)
    with pytest.raises(NotFound):
        await memory.get("a")
    await trio.sleep(32)
    assert await memory.get("a") == b"1"


async def test_a_cancelled_put_lands(
    memory: MemoryObjectStore, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = faulty(memory, FaultPlan(latency_seconds=(5, 5)), nursery)
    with trio.move_on_after(1) as scope:
        await store.put_if_absent("a", b"1")
    assert scope.cancelled_caught
    await trio.sleep(5)
    assert await memory.get("a") == b"1"


async def test_slower_than_the_timeout_is_an_unknown_outcome(
    memory: MemoryObjectStore, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = faulty(memory, FaultPlan(slow_rate=1.0, slow_seconds=(20, 20)), nursery)
    assert (await failed_put(store)).outcome_unknown
    await trio.sleep(11)
    assert await memory.get("a") == b"1"


async def test_a_burst_of_503_ends(
    memory: MemoryObjectStore, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    store = faulty(memory, FaultPlan(burst_rate=1.0, burst_seconds=(2, 2)), nursery)
    assert not (await failed_put(store)).outcome_unknown
    store.plan = FaultPlan()
    assert not (await failed_put(store)).outcome_unknown
    await trio.sleep(2.1)
    assert await store.put_if_absent("a", b"1") is PutResult.CREATED


async def test_an_outage_ends_when_told(memory: MemoryObjectStore, nursery: trio.Nursery) -> None:
    store = faulty(memory, FaultPlan(), nursery)
    store.is_down = True
    await failed_put(store)
    store.is_down = False
    assert await store.put_if_absent("a", b"1") is PutResult.CREATED
    assert store.counts.refused == 1


def history(seed: int) -> list[object]:
    async def main() -> list[object]:
        plan = FaultPlan(
            latency_seconds=(0.001, 0.01),
            slow_rate=0.1,
            lost_request_rate=0.1,
            lost_reply_rate=0.1,
            late_put_rate=0.1,
            burst_rate=0.1,
        )
        seen: list[object] = []
        memory = MemoryObjectStore(ManualClock())
        async with trio.open_nursery() as nursery:
            store = FaultyObjectStore(memory, plan=plan, rand=SeededRand(seed), nursery=nursery)
            for number in range(60):
                try:
                    seen.append(await store.put_if_absent(f"k/{number}", b"x"))
                    seen.append(await store.get(f"k/{number}"))
                except (Unavailable, NotFound) as error:
                    seen.append(error.message)
                seen.append(trio.current_time())
        return [*seen, store.counts, trio.current_time()]

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_one_seed_is_one_history() -> None:
    assert history(5) == history(5)
    assert history(5) != history(6)
