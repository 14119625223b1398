"""Trying again: exponential backoff with full jitter, bounded in attempts and in time.

Owns: when the next attempt is made. Does not own: which errors deserve one; the caller says so.
Rules: 1 full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): each delay is uniform between
0 and the bound, so that many callers do not return in step; 2 the last error is raised as it was.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from libs.concurrency.rand import Rand
from libs.model.errors import KafscaleError

T = TypeVar("T")

_DOUBLINGS_MAX = 32  # beyond it every sensible bound is reached, and 2.0**n would overflow some day


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The bound of a delay doubles from `first_seconds` up to `max_seconds`."""

    first_seconds: float = 0.05
    max_seconds: float = 5.0

    def delay_seconds(self, failures: int, rand: Rand) -> float:
        """How long to wait after `failures` (1 or more) failures in a row."""
        doublings = min(failures - 1, _DOUBLINGS_MAX)
        return rand.uniform(0.0, min(self.max_seconds, self.first_seconds * 2.0**doublings))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """At most `attempts_max` attempts, none begun later than `elapsed_seconds_max` after the first."""

    backoff: Backoff = Backoff()
    attempts_max: int = 5
    elapsed_seconds_max: float = 30.0


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    rand: Rand,
    when: Callable[[KafscaleError], bool],
    on_retry: Callable[[KafscaleError, int], None] | None = None,
) -> T:
    """Awaits `call()` until it succeeds, `when` refuses its error, or the policy is used up.

    `on_retry` hears each error that is retried with the number of failures so far. Errors other than the
    platform's kinds are never retried: they are bugs.
    """
    started = trio.current_time()
    failures = 0
    while True:
        try:
            return await call()
        except KafscaleError as error:
            failures += 1
            if failures >= policy.attempts_max or not when(error):
                raise
            delay_seconds = policy.backoff.delay_seconds(failures, rand)
            if trio.current_time() + delay_seconds - started > policy.elapsed_seconds_max:
                raise
            if on_retry is not None:
                on_retry(error, failures)
        await trio.sleep(delay_seconds)
