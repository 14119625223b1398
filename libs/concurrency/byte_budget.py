"""A bound of bytes that many share: taken before they are accepted, given back when they are done with.

Owns: the count and who waits, first come first served. Does not own: the bytes.
Rules: 1 a full budget makes `take` wait, which stops the reader of the stream above it (promise 7); 2 who is
larger than the whole budget is let through alone; 3 who is cancelled took nothing, also where room was made
for it between the cancellation and its next step.
"""

from collections import deque
from dataclasses import dataclass, field

import trio


@dataclass(slots=True, eq=False)
class _Ticket:
    size_bytes: int
    admitted: trio.Event = field(default_factory=trio.Event)


class ByteBudget:
    """`bytes_max` bytes to share."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0
        self._waiting: deque[_Ticket] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    async def take(self, size_bytes: int) -> None:
        """Returns once there is room, at once where there is; when cancelled, nothing was taken."""
        if not self._waiting and self._fits(size_bytes):
            self.used_bytes += size_bytes
            return
        ticket = _Ticket(size_bytes)
        self._waiting.append(ticket)
        try:
            await ticket.admitted.wait()
        except trio.Cancelled:
            if ticket.admitted.is_set():  # rule 3
                self.give_back(size_bytes)
            else:
                self._waiting.remove(ticket)
                self._admit()
            raise

    def give_back(self, size_bytes: int) -> None:
        """Less than 0 takes more, beyond the budget if need be, which then stops whoever comes next."""
        self.used_bytes -= size_bytes
        self._admit()

    def _fits(self, size_bytes: int) -> bool:
        return self.used_bytes + size_bytes <= self.bytes_max or self.used_bytes == 0

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0].size_bytes):
            ticket = self._waiting.popleft()
            self.used_bytes += ticket.size_bytes
            ticket.admitted.set()
