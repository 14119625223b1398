"""The bound of unflushed bytes: taken before an append is accepted, given back when it was answered.

Owns: the count and who waits, first come first served. Does not own: the bytes.
Rules: 1 a full budget makes `take` wait, which stops the reader of the stream above it (promise 7); 2 an
append that is larger than the whole budget is let through alone.
"""

from collections import deque

import trio


class ByteBudget:
    """`bytes_max` bytes to share."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0
        self._waiting: deque[tuple[int, trio.Event]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    async def take(self, size_bytes: int) -> None:
        """Returns once there is room, at once where there is; when cancelled, nothing was taken."""
        if not self._waiting and self._fits(size_bytes):
            self.used_bytes += size_bytes
            return
        ticket = (size_bytes, trio.Event())
        self._waiting.append(ticket)
        try:
            # Trio does not cancel a wait that was already woken: Cancelled means that nothing was taken.
            await ticket[1].wait()
        except trio.Cancelled:
            self._waiting.remove(ticket)
            self._admit()
            raise

    def give_back(self, size_bytes: int) -> None:
        self.used_bytes -= size_bytes
        if self._waiting:
            self._admit()

    def _fits(self, size_bytes: int) -> bool:
        return self.used_bytes + size_bytes <= self.bytes_max or self.used_bytes == 0

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size_bytes, admitted = self._waiting.popleft()
            self.used_bytes += size_bytes
            admitted.set()
