"""Leases of a byte budget: never forgotten."""

from libs.concurrency.byte_budget import ByteBudget
from services.gateway.admission import lease


async def test_a_lease_has_several_holders_and_another_size() -> None:
    budget = ByteBudget(100)
    taken = await lease(budget, 10)
    taken.hold()
    taken.resize(70)
    assert budget.used_bytes == 70
    taken.release()
    assert budget.used_bytes == 70
    taken.release()
    assert budget.used_bytes == 0
