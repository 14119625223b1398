"""The bound of unflushed bytes: order, cancellation, what is larger than all of it."""

import trio
from trio.testing import wait_all_tasks_blocked

from services.partition_owner.byte_budget import ByteBudget


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
