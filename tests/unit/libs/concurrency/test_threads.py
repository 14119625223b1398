"""Named pools of threads: bounded, and a call that has begun is never half done."""

import threading

import pytest
import trio

from libs.concurrency.threads import Threads


async def hold(threads: Threads, gate: threading.Event) -> None:
    await threads.run("io", gate.wait)


async def test_result_and_error_come_back() -> None:
    threads = Threads({"io": 1})
    assert await threads.run("io", divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run("io", divmod, 7, 0)


async def test_a_full_pool_makes_callers_wait() -> None:
    threads = Threads({"io": 1, "other": 3})
    gate = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, threads, gate)
        nursery.start_soon(hold, threads, gate)
        await trio.testing.wait_all_tasks_blocked()
        io = threads.statistics()["io"]
        assert (io.busy, io.threads_max, io.waiting) == (1, 1, 1)
        assert threads.statistics()["other"].busy == 0
        gate.set()
    assert threads.statistics()["io"].busy == 0


async def test_a_call_that_has_begun_outlives_cancellation_and_returns_its_result() -> None:
    threads = Threads({"io": 1})
    gate = threading.Event()
    results: list[str] = []

    def work() -> str:
        gate.wait()
        return "done"

    async def caller(scope: trio.CancelScope) -> None:
        with scope:
            results.append(await threads.run("io", work))

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(caller, scope)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert results == []
        gate.set()
    assert results == ["done"]


async def test_cancelled_while_waiting_for_a_thread_never_begins() -> None:
    threads = Threads({"io": 1})
    gate = threading.Event()
    begun: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, threads, gate)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0) as scope:
            await threads.run("io", begun.append, 1)
        assert scope.cancelled_caught
        gate.set()
    assert begun == []


async def test_an_abandoned_call_lets_its_caller_go_but_keeps_its_place() -> None:
    threads = Threads({"io": 1})
    gate = threading.Event()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                await threads.run("io", gate.wait, abandon_on_cancel=True)

            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert threads.statistics()["io"].busy == 1
    gate.set()
    await threads.run("io", int)  # gets the place once the abandoned call has given it back
