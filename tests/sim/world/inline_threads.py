"""Blocking calls in the loop's own step: what the simulation has instead of threads.

Owns: nothing. Rule: a call takes no virtual time and nothing runs beside it.
"""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from libs.concurrency.threads import PoolStatistics, Threads

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class InlineThreads(Threads):
    """Any pool by any name."""

    def __init__(self) -> None:
        super().__init__({})

    async def run(
        self, pool: str, call: Callable[[*Ts], T], *args: *Ts, abandon_on_cancel: bool = False
    ) -> T:
        del pool, abandon_on_cancel
        await trio.lowlevel.checkpoint()
        return call(*args)

    def statistics(self) -> dict[str, PoolStatistics]:
        return {}
