"""Single flight: one run for all, which outlives the caller that started it but not the last."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from libs.concurrency.single_flight import SingleFlight
from libs.model.errors import NotFound, Unavailable


class Slow:
    """A run that ends when told; counts how often it was begun and cancelled."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.gate = trio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.begun


async def call(
    flights: SingleFlight[str, int],
    slow: Slow,
    results: list[object],
    scope: trio.CancelScope,
    key: str = "k",
) -> None:
    with scope:
        try:
            results.append(await flights.run(key, slow))
        except (NotFound, Unavailable) as error:
            results.append(error)


async def test_concurrent_calls_share_one_run(nursery: trio.Nursery) -> None:
    slow, results = Slow(), list[object]()
    flights = SingleFlight[str, int](nursery, runs_max=4)
    async with trio.open_nursery() as callers:
        for _ in range(5):
            callers.start_soon(call, flights, slow, results, trio.CancelScope())
        await wait_all_tasks_blocked()
        assert (flights.statistics().runs, flights.statistics().waiting) == (1, 5)
        slow.gate.set()
    assert results == [1] * 5
    assert flights.statistics().runs == 0
    assert await flights.run("k", slow) == 2  # nothing is cached


async def test_the_run_survives_the_caller_that_started_it(nursery: trio.Nursery) -> None:
    slow, results, first = Slow(), list[object](), trio.CancelScope()
    flights = SingleFlight[str, int](nursery, runs_max=4)
    async with trio.open_nursery() as callers:
        callers.start_soon(call, flights, slow, results, first)
        await wait_all_tasks_blocked()
        callers.start_soon(call, flights, slow, results, trio.CancelScope())
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        slow.gate.set()
    assert results == [1]
    assert (slow.begun, slow.cancelled) == (1, 0)


async def test_the_run_ends_with_its_last_waiter_and_a_new_call_starts_afresh(nursery: trio.Nursery) -> None:
    slow, results, scope = Slow(), list[object](), trio.CancelScope()
    flights = SingleFlight[str, int](nursery, runs_max=1)
    async with trio.open_nursery() as callers:
        callers.start_soon(call, flights, slow, results, scope)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert (slow.begun, slow.cancelled) == (1, 1)
        callers.start_soon(call, flights, slow, results, trio.CancelScope())
        await wait_all_tasks_blocked()
        slow.gate.set()
    assert results == [2]


async def test_errors_are_shared(nursery: trio.Nursery) -> None:
    slow, results = Slow(), list[object]()
    slow.error = NotFound("no such thing")
    flights = SingleFlight[str, int](nursery, runs_max=1)
    async with trio.open_nursery() as callers:
        for _ in range(3):
            callers.start_soon(call, flights, slow, results, trio.CancelScope())
        await wait_all_tasks_blocked()
        slow.gate.set()
    assert results == [slow.error] * 3


async def test_runs_are_bounded(nursery: trio.Nursery) -> None:
    slow, results = Slow(), list[object]()
    flights = SingleFlight[str, int](nursery, runs_max=2)
    async with trio.open_nursery() as callers:
        for key in "abcde":
            callers.start_soon(call, flights, slow, results, trio.CancelScope(), key)
        await wait_all_tasks_blocked()
        assert slow.begun == 2
        slow.gate.set()
    assert slow.begun == 5
    assert len(results) == 5


async def test_waiters_are_told_when_the_nursery_ends() -> None:
    slow, results = Slow(), list[object]()
    async with trio.open_nursery() as callers, trio.open_nursery() as owner:
        flights = SingleFlight[str, int](owner, runs_max=1)
        callers.start_soon(call, flights, slow, results, trio.CancelScope())
        await wait_all_tasks_blocked()
        owner.cancel_scope.cancel()
    assert [type(result) for result in results] == [Unavailable]


async def test_a_fatal_error_is_not_shared_but_ends_the_nursery() -> None:
    class Fatal(BaseException):
        pass

    async def broken() -> int:
        raise Fatal

    async def main() -> None:
        async with trio.open_nursery() as owner:
            await SingleFlight[str, int](owner, runs_max=1).run("k", broken)

    with pytest.raises(BaseExceptionGroup) as caught:
        await main()
    assert caught.group_contains(Fatal)
