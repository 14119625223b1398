"""The only place that starts threads: named, bounded pools for blocking libraries.

Owns: one capacity limiter per kind of blocking work. Does not own: what runs in the threads.
Rules: 1 a call that has begun runs to its end, even when its caller is cancelled, unless the caller says
`abandon_on_cancel` because nothing is lost when the result is; 2 a full pool makes callers wait.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """How full one pool is: threads at work, threads allowed, callers that wait for one."""

    busy: int
    threads_max: int
    waiting: int


class Threads:
    """Named pools of threads, e.g. `Threads({"s3-put": 8, "s3-get": 16})`: name to threads at most."""

    def __init__(self, pools: Mapping[str, int]) -> None:
        self._limiters = {name: trio.CapacityLimiter(threads_max) for name, threads_max in pools.items()}

    async def run(
        self, pool: str, call: Callable[[*Ts], T], *args: *Ts, abandon_on_cancel: bool = False
    ) -> T:
        """Runs `call(*args)` in a thread of `pool` and returns its result or raises its error.

        Cancellation is honoured while waiting for a thread. Once the call has begun it is waited for, and
        its result is returned, unless `abandon_on_cancel`: then the caller leaves at once, the thread goes on
        and keeps its place in the pool until it is done.
        """
        return await trio.to_thread.run_sync(
            call,
            *args,
            abandon_on_cancel=abandon_on_cancel,
            limiter=self._limiters[pool],
            thread_name=pool,
        )

    def statistics(self) -> dict[str, PoolStatistics]:
        """The state of every pool, by name."""
        return {
            name: PoolStatistics(
                busy=limiter.borrowed_tokens,
                threads_max=int(limiter.total_tokens),
                waiting=limiter.statistics().tasks_waiting,
            )
            for name, limiter in self._limiters.items()
        }
