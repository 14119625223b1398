"""Leases of a byte budget that all connections share.

Owns: who holds the bytes of a request or an answer, together. Does not own: the budget, what the bytes are.
Rule: 1 a lease is given back once, whatever happens to its holders.
"""

import trio

from libs.concurrency.byte_budget import ByteBudget


class Lease:
    """Bytes that are taken until every holder has released them."""

    __slots__ = ("_budget", "_holders", "size_bytes")

    def __init__(self, budget: ByteBudget, size_bytes: int) -> None:
        """To be got by `lease`: the bytes are taken already."""
        self._budget = budget
        self._holders = 1
        self.size_bytes = size_bytes

    def hold(self) -> None:
        """One more holder, who calls `release`."""
        self._holders += 1

    def release(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            self._budget.give_back(self.size_bytes)

    def resize(self, size_bytes: int) -> None:
        """What it really takes; may go beyond the budget, which then stops whoever comes next."""
        self._budget.give_back(self.size_bytes - size_bytes)
        self.size_bytes = size_bytes


async def lease(budget: ByteBudget, size_bytes: int) -> Lease:
    """Waits for room. When cancelled, nothing was taken."""
    await trio.lowlevel.checkpoint_if_cancelled()
    await budget.take(size_bytes)
    return Lease(budget, size_bytes)
