"""Byte budgets: fair, and never forgotten."""

import trio
import trio.testing

from services.gateway.admission import ByteBudget, Lease


async def test_first_come_first_served_also_for_large_ones() -> None:
    budget = ByteBudget(100)
    order: list[str] = []
    first = await budget.take(80)

    async def take(name: str, size: int) -> None:
        lease = await budget.take(size)
        order.append(name)
        lease.release()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take, "large", 90)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(take, "small", 20)
            await trio.testing.wait_all_tasks_blocked()
            assert (order, budget.waiting) == ([], 2)
            first.release()
    assert order == ["large", "small"]
    assert budget.used_bytes == 0


async def test_one_larger_than_the_budget_passes_alone() -> None:
    budget = ByteBudget(100)
    lease = await budget.take(500)
    with trio.move_on_after(0.01):
        await budget.take(1)
    assert (budget.used_bytes, budget.waiting) == (500, 0)
    lease.release()
    assert budget.used_bytes == 0


async def test_who_is_cancelled_took_nothing_and_lets_the_next_go() -> None:
    budget = ByteBudget(100)
    held = await budget.take(50)
    taken: list[Lease] = []

    async def take(size: int) -> None:
        taken.append(await budget.take(size))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(take, 10)  # waits behind the one that is cancelled
            await trio.testing.wait_all_tasks_blocked()
            taken.clear()
            scope.cancel()
            await budget.take(100)
    assert scope.cancelled_caught
    held.release()
    assert budget.waiting == 0


async def test_a_lease_has_several_holders_and_another_size() -> None:
    budget = ByteBudget(100)
    lease = await budget.take(10)
    lease.hold()
    lease.resize(70)
    assert budget.used_bytes == 70
    lease.release()
    assert budget.used_bytes == 70
    lease.release()
    assert budget.used_bytes == 0
