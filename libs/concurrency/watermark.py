"""A number that only grows, and tasks that wait for it.

Owns: the value and its waiters. Does not own: what the number counts.
Rules: 1 the value never goes back (promise 4); 2 once closed, it stays as it is and every waiter, also a
later one, gets the error it was closed with.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio


@dataclass(slots=True, kw_only=True)
class _Waiters:
    event: trio.Event = field(default_factory=trio.Event)
    count: int = 0


class Watermark:
    """Starts at `value`; `advance` wakes whoever waits for no more than the new value."""

    def __init__(self, value: int = 0) -> None:
        self._value = value
        self._waiters: dict[int, _Waiters] = {}
        self._closed_with: Callable[[], Exception] | None = None

    @property
    def value(self) -> int:
        return self._value

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return sum(waiters.count for waiters in self._waiters.values())

    def advance(self, value: int) -> None:
        """Moves up to `value`; a value that is not above the present one changes nothing."""
        if value <= self._value or self._closed_with is not None:
            return
        self._value = value
        self._wake([wanted for wanted in self._waiters if wanted <= value])

    def close(self, error: Callable[[], Exception]) -> None:
        """Ends the watermark: waiters raise `error()`, each an exception of its own."""
        if self._closed_with is None:
            self._closed_with = error
            self._wake(list(self._waiters))

    async def wait_at_least(self, value: int) -> int:
        """Returns the watermark's value once it is at least `value`; raises what it was closed with."""
        if self._value < value and self._closed_with is None:
            waiters = self._waiters.setdefault(value, _Waiters())
            waiters.count += 1
            try:
                await waiters.event.wait()
            finally:
                waiters.count -= 1
                if waiters.count == 0 and self._waiters.get(value) is waiters:
                    del self._waiters[value]
        else:
            await trio.lowlevel.checkpoint()
        if self._value < value and self._closed_with is not None:
            raise self._closed_with()
        return self._value

    def _wake(self, wanted: list[int]) -> None:
        for value in wanted:
            self._waiters.pop(value).event.set()
