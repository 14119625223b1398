"""Byte budgets shared by all connections.

Owns: who waits for room, in which order. Does not own: what the bytes are.
Rules: 1 strictly first come, first served: a large request is not starved by small ones; 2 a lease is given
back once, whatever happens to its holder.
"""

from collections import deque
from dataclasses import dataclass, field

import trio


@dataclass(slots=True, eq=False)
class _Ticket:
    size: int
    admitted: trio.Event = field(default_factory=trio.Event)


class Lease:
    """Bytes that are taken until every holder has released them."""

    __slots__ = ("_budget", "_holders", "size")

    def __init__(self, budget: "ByteBudget", size: int) -> None:
        self._budget = budget
        self._holders = 1
        self.size = size

    def hold(self) -> None:
        """One more holder, who calls `release`."""
        self._holders += 1

    def release(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            self._budget._give_back(self.size)

    def resize(self, size: int) -> None:
        """What it really takes; may go beyond the budget, which then stops whoever comes next."""
        self._budget._give_back(self.size - size)
        self.size = size


class ByteBudget:
    """At most `bytes_max` bytes are leased; one larger lease is given when it is alone."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0
        self._tickets: deque[_Ticket] = deque()

    @property
    def waiting(self) -> int:
        return len(self._tickets)

    async def take(self, size: int) -> Lease:
        """Waits for room. When cancelled, nothing was taken."""
        if not self._tickets and self._fits(size):
            await trio.lowlevel.checkpoint_if_cancelled()
            self.used_bytes += size
            return Lease(self, size)
        ticket = _Ticket(size)
        self._tickets.append(ticket)
        try:
            # Trio delivers no cancellation to a wait that was already woken: Cancelled means not admitted.
            await ticket.admitted.wait()
        except trio.Cancelled:
            self._tickets.remove(ticket)
            self._admit()
            raise
        return Lease(self, size)

    def _fits(self, size: int) -> bool:
        return self.used_bytes + size <= self.bytes_max or self.used_bytes == 0

    def _give_back(self, size: int) -> None:
        self.used_bytes -= size
        self._admit()

    def _admit(self) -> None:
        while self._tickets and self._fits(self._tickets[0].size):
            ticket = self._tickets.popleft()
            self.used_bytes += ticket.size
            ticket.admitted.set()
