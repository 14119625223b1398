"""Doing many things at once, a bounded number at a time.

Owns: the bound, one error instead of a group. Does not own: retries.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

from libs.model.errors import KafscaleError

T = TypeVar("T")


async def for_each(items: Iterable[T], call: Callable[[T], Awaitable[None]], *, at_once_max: int) -> None:
    """Awaits `call(item)` for all items, at most `at_once_max` at once.

    The first of the platform's errors ends the rest and is raised by itself; anything else comes as a group.
    """
    waiting = list(items)
    if len(waiting) == 1:
        await call(waiting[0])
        return
    waiting.reverse()
    errors: list[KafscaleError] = []

    async def work(scope: trio.CancelScope) -> None:
        while waiting:
            try:
                await call(waiting.pop())
            except KafscaleError as error:
                errors.append(error)
                scope.cancel()
                return

    async with trio.open_nursery() as nursery:
        for _ in range(min(at_once_max, len(waiting))):
            nursery.start_soon(work, nursery.cancel_scope)
    if errors:
        raise errors[0]
