"""Which object is worked on next: each at most once at a time, again later where it failed.

Owns: order, back-off, what is due when. Does not own: the work. As client-go's workqueue.
Rules: 1 a key that is added while it is worked on is worked on again afterwards, never beside; 2 adding a key
twice is once.
"""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff

K = TypeVar("K", bound=Hashable)

_BACKOFF = Backoff(first_seconds=0.5, max_seconds=60.0)


class WorkQueue(Generic[K]):
    def __init__(self, rand: Rand, *, backoff: Backoff = _BACKOFF) -> None:
        self._rand = rand
        self._backoff = backoff
        self._waiting: dict[K, None] = {}
        self._busy: set[K] = set()
        self._later: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._changed = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._later) + len(self._busy)

    def add(self, key: K) -> None:
        """Now, or as soon as it is not worked on any more."""
        self._later.pop(key, None)
        self._waiting.setdefault(key)
        self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """In so many seconds, unless it is due before that anyway."""
        at = trio.current_time() + seconds
        if key not in self._waiting and at < self._later.get(key, float("inf")):
            self._later[key] = at
            self._wake()

    def failures(self, key: K) -> int:
        """Failures in a row."""
        return self._failures.get(key, 0)

    def statistics(self) -> dict[str, int]:
        return {
            "waiting": len(self._waiting),
            "later": len(self._later),
            "busy": len(self._busy),
            "failing": len(self._failures),
        }

    async def run(self, work: Callable[[K], Awaitable[bool]], *, workers: int) -> None:
        """Works for ever; `work` returns False where it failed and wants to be tried again."""
        async with trio.open_nursery() as nursery:
            for _ in range(workers):
                nursery.start_soon(self._worker, work)

    async def _worker(self, work: Callable[[K], Awaitable[bool]]) -> None:
        while True:
            key = await self._take()
            try:
                done = await work(key)
            finally:
                self._busy.discard(key)
                self._wake()
            if done:
                self._failures.pop(key, None)
            else:
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                self.add_after(key, self._backoff.delay_seconds(failures, self._rand))

    async def _take(self) -> K:
        while True:
            await trio.lowlevel.checkpoint()
            now = trio.current_time()
            for key in [key for key, at in self._later.items() if at <= now]:
                del self._later[key]
                self._waiting.setdefault(key)
            free = next((key for key in self._waiting if key not in self._busy), None)
            if free is not None:
                del self._waiting[free]
                self._busy.add(free)
                return free
            changed = self._changed
            with trio.move_on_at(min(self._later.values(), default=float("inf"))):
                await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
