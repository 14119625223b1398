"""A queue bounded by bytes and by count, emptied in batches.

Owns: order, bounds and who waits. Does not own: the items.
Rules: 1 strictly first in, first out, also among those who wait to put; 2 a full inbox makes `put` wait,
which stops the reader above it; 3 an item that could never fit is refused at once.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

from libs.model.errors import Invalid, Overloaded, Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxStatistics:
    """What the inbox holds, what it may hold, and how many wait to put."""

    count: int
    count_max: int
    buffered_bytes: int
    bytes_max: int
    waiting: int


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket(Generic[T]):
    item: T
    size_bytes: int
    admitted: trio.Event = field(default_factory=trio.Event)


class Inbox(Generic[T]):
    """Many put, one empties it."""

    def __init__(self, *, bytes_max: int, count_max: int) -> None:
        self._bytes_max = bytes_max
        self._count_max = count_max
        self._items: deque[tuple[T, int]] = deque()
        self._buffered_bytes = 0
        self._tickets: deque[_Ticket[T]] = deque()
        self._nonempty = trio.Event()

    async def put(self, item: T, size_bytes: int) -> None:
        """Adds `item`, waiting for room. When cancelled while waiting, the item was not added.

        Raises Invalid(MESSAGE_TOO_LARGE) when it is larger than the whole inbox.
        """
        self._refuse_oversized(size_bytes)
        if not self._tickets and self._fits(size_bytes):
            await trio.lowlevel.checkpoint_if_cancelled()
            self._add(item, size_bytes)
            return
        ticket = _Ticket(item, size_bytes)
        self._tickets.append(ticket)
        try:
            # Trio delivers no cancellation to a wait that was already woken: Cancelled means not admitted.
            await ticket.admitted.wait()
        except trio.Cancelled:
            self._tickets.remove(ticket)
            self._admit()
            raise

    def put_nowait(self, item: T, size_bytes: int) -> None:
        """Adds `item` or raises Overloaded; Invalid(MESSAGE_TOO_LARGE) when it could never fit."""
        self._refuse_oversized(size_bytes)
        if self._tickets or not self._fits(size_bytes):
            raise Overloaded(
                f"the inbox is full: {len(self._items)} of {self._count_max} items, "
                f"{self._buffered_bytes} of {self._bytes_max} bytes"
            )
        self._add(item, size_bytes)

    def get_batch_nowait(self, *, bytes_max: int | None = None, count_max: int | None = None) -> list[T]:
        """The oldest items within both bounds, at least one unless the inbox is empty."""
        batch: list[T] = []
        batch_bytes = 0
        while self._items and (count_max is None or len(batch) < count_max):
            item, size_bytes = self._items[0]
            if batch and bytes_max is not None and batch_bytes + size_bytes > bytes_max:
                break
            self._items.popleft()
            batch.append(item)
            batch_bytes += size_bytes
        self._buffered_bytes -= batch_bytes
        if not self._items:
            self._nonempty = trio.Event()
        self._admit()
        return batch

    async def wait_nonempty(self) -> None:
        """Returns when there is something to get."""
        await self._nonempty.wait()

    def statistics(self) -> InboxStatistics:
        return InboxStatistics(
            count=len(self._items),
            count_max=self._count_max,
            buffered_bytes=self._buffered_bytes,
            bytes_max=self._bytes_max,
            waiting=len(self._tickets),
        )

    def _refuse_oversized(self, size_bytes: int) -> None:
        if size_bytes > self._bytes_max:
            raise Invalid(
                f"an item of {size_bytes} bytes can't enter an inbox of {self._bytes_max} bytes",
                reason=Reason.MESSAGE_TOO_LARGE,
            )

    def _fits(self, size_bytes: int) -> bool:
        return len(self._items) < self._count_max and self._buffered_bytes + size_bytes <= self._bytes_max

    def _add(self, item: T, size_bytes: int) -> None:
        self._items.append((item, size_bytes))
        self._buffered_bytes += size_bytes
        self._nonempty.set()

    def _admit(self) -> None:
        while self._tickets and self._fits(self._tickets[0].size_bytes):
            ticket = self._tickets.popleft()
            self._add(ticket.item, ticket.size_bytes)
            ticket.admitted.set()
