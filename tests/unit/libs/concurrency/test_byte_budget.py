"""The bound of unflushed bytes: order, cancellation, what is larger than all of it."""

import trio
from trio.testing import wait_all_tasks_blocked

from libs.concurrency.byte_budget import ByteBudget


async def test_first_come_first_served() -> None:
    budget = ByteBudget(10)
    await budget.take(8)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.take, 6)
        await wait_all_tasks_blocked()
        nursery.start_soon(budget.take, 1)  # would fit, but must not overtake
        await wait_all_tasks_blocked()
        assert budget.waiting == 2
        budget.give_back(8)
    assert budget.used_bytes == 7


async def test_cancelled_takes_nothing_and_lets_the_next_in() -> None:
    budget = ByteBudget(10)
    await budget.take(5)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(budget.take, 100)
            await wait_all_tasks_blocked()
            nursery.start_soon(budget.take, 4)
            await wait_all_tasks_blocked()
            assert budget.waiting == 2
        assert not scope.cancelled_caught
        budget.give_back(5)  # the large one goes alone
        await wait_all_tasks_blocked()
        assert (budget.used_bytes, budget.waiting) == (100, 1)
        budget.give_back(100)
    assert budget.used_bytes == 4

    budget = ByteBudget(10)
    await budget.take(9)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await budget.take(5)

        nursery.start_soon(cancelled)
        await wait_all_tasks_blocked()
        nursery.start_soon(budget.take, 1)
        await wait_all_tasks_blocked()
        assert budget.waiting == 2
        scope.cancel()
    assert budget.used_bytes == 10


async def test_who_was_cancelled_and_let_in_before_it_ran_again_took_nothing() -> None:
    """The cancellation is on its way, and is not taken back because room is made meanwhile."""
    budget = ByteBudget(10)
    await budget.take(10)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(budget.take, 7)
            await wait_all_tasks_blocked()
            scope.cancel()
            budget.give_back(10)
    assert scope.cancelled_caught
    assert (budget.used_bytes, budget.waiting) == (0, 0)


async def test_who_is_larger_than_the_budget_passes_alone() -> None:
    budget = ByteBudget(100)
    await budget.take(500)
    with trio.move_on_after(0.01):
        await budget.take(1)
    assert (budget.used_bytes, budget.waiting) == (500, 0)
    budget.give_back(500)
    assert budget.used_bytes == 0
