"""Whether this process is ready, and for what it still waits.

Rules: 1 it latches: once ready, no outage of a store or a peer makes it unready (it would turn a slow
dependency into an outage, design section 4); 2 only the process's own drain ends readiness.
"""

from collections.abc import Awaitable, Callable

import trio


class Readiness:
    def __init__(self) -> None:
        self._waiting_for: list[str] = []
        self._started = False
        self._draining = False
        self._ready = trio.Event()

    @property
    def ready(self) -> bool:
        return self._ready.is_set() and not self._draining

    @property
    def draining(self) -> bool:
        return self._draining

    def describe(self) -> str:
        """One line for /readyz."""
        if self._draining:
            return "draining"
        if self._ready.is_set():
            return "ready"
        return "waiting for " + (", ".join(self._waiting_for) or "start-up")

    async def latch_after(self, conditions: dict[str, Callable[[], Awaitable[None]]]) -> None:
        """Waits for every condition at once, then latches. Names say what is waited for."""
        self._waiting_for = list(conditions)
        async with trio.open_nursery() as nursery:
            for name, condition in conditions.items():
                nursery.start_soon(self._wait_one, name, condition)
        self._ready.set()

    async def _wait_one(self, name: str, condition: Callable[[], Awaitable[None]]) -> None:
        await condition()
        self._waiting_for.remove(name)

    def begin_drain(self) -> None:
        self._draining = True

    async def wait_ready(self) -> None:
        await self._ready.wait()
