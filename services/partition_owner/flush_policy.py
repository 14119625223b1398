"""When the owner writes its next chain object. Pure.

Owns: the decision and the PUT budget. Does not own: what is written, the clock.
Rules (design section 3, "When to flush"): 1 with nothing in flight, as soon as something waits, after a
linger that lets concurrent producers share; after a PUT the linger covers the answer's way to the producers
and their next requests' way back, as a share of what the last PUTs took; 2 otherwise when a slot of W is
free and there are enough bytes, or the oldest is old enough, or the last PUT takes its time and the budget
allows; 3 nobody polls: the answer is a time.

The latency of the acknowledgement is the throughput of a producer that keeps a fixed number of requests in
flight, so the linger stays at a few milliseconds and a PUT that the budget allows is never held back.
"""

import math
from dataclasses import dataclass

NEVER = math.inf

GATHER_SHARE = 0.5
"""Of a PUT's time: what those who were just answered get to come back before the next PUT begins."""
GATHER_SECONDS_MAX = 0.008
_PUT_SECONDS_WEIGHT = 0.2
"""Of the newest PUT in the moving average."""


class PutBudget:
    """A token bucket of PUTs: `per_second` come in, up to `burst`. Spending may overdraw by as much."""

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._at = -math.inf

    def available_at(self, now: float) -> float:
        """When a PUT is within the budget: `now`, later, or NEVER."""
        self._refill(now)
        if self._tokens >= 1.0:
            return now
        if self._per_second <= 0:
            return NEVER
        return now + (1.0 - self._tokens) / self._per_second

    def spend(self, now: float) -> None:
        """One PUT was begun, within the budget or not."""
        self._refill(now)
        self._tokens = max(self._tokens - 1.0, -self._burst)

    def _refill(self, now: float) -> None:
        if now > self._at:
            elapsed = 0.0 if self._at == -math.inf else now - self._at
            self._tokens = min(self._burst, self._tokens + elapsed * self._per_second)
            self._at = now


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushLimits:
    linger_seconds: float
    alone_seconds: float
    """How long a PUT is alone in flight. A store that answers sooner is written to one object after the
    other: they get larger, cost less, and nobody waits longer."""
    age_seconds_max: float
    object_bytes_target: int
    in_flight_max: int
    """W: objects on their way at once."""


class FlushPolicy:
    """Answers when to flush, as long as nothing changes; the caller asks again when something does."""

    def __init__(self, limits: FlushLimits, budget: PutBudget) -> None:
        self.limits = limits
        self._budget = budget
        self._put_seconds = 0.0
        self._gathered_at = -math.inf
        self._begun_at = -math.inf

    def flush_at(
        self, now: float, *, waiting_since: float | None, waiting_bytes: int, in_flight: int, urgent: bool
    ) -> float:
        """The time of the next flush, `now` or earlier for at once; NEVER where only an event can bring it.

        `waiting_since` is None when nothing waits. `urgent`: somebody asked for it (a fence, a drain).
        """
        limits = self.limits
        if in_flight >= limits.in_flight_max:
            return NEVER
        if urgent:
            return now
        if waiting_since is None:
            return NEVER
        if waiting_bytes >= limits.object_bytes_target:
            return now
        lingered = waiting_since + limits.linger_seconds
        if in_flight == 0:
            return max(lingered, self._gathered_at)
        budgeted = max(lingered, self._begun_at + limits.alone_seconds, self._budget.available_at(now))
        return min(budgeted, waiting_since + limits.age_seconds_max)

    def flushed(self, now: float) -> None:
        """An object was sent."""
        self._begun_at = now
        self._budget.spend(now)

    def finished(self, now: float, put_seconds: float) -> None:
        """An object became durable, `put_seconds` after it was sent."""
        self._put_seconds += (put_seconds - self._put_seconds) * _PUT_SECONDS_WEIGHT
        self._gathered_at = now + min(self._put_seconds * GATHER_SHARE, GATHER_SECONDS_MAX)
