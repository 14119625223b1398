"""A bell: one task waits for it, anyone rings it.

Owns: not losing a ring that came while nobody waited. Does not own: what it means.
"""

import trio


class Wake:
    """`set` may be called any number of times before `wait` returns once."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        """Returns once it was rung since the last return."""
        await self._event.wait()
        self._event = trio.Event()

    async def wait_until(self, deadline: float) -> None:
        """Returns once it was rung, or at `deadline` of Trio's clock."""
        with trio.move_on_at(deadline):
            await self.wait()
