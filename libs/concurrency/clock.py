"""The wall clock, as something that is handed in.

Owns: wall-clock milliseconds. Does not own: monotonic time and timeouts, which stay `trio.current_time()`.
Rules: 1 wall time is for people, timestamps and retention; no safety property rests on it (promise 5).
"""

import time
from typing import Protocol

import trio


class Clock(Protocol):
    """Tells the wall time in milliseconds since the Unix epoch."""

    def now_ms(self) -> int: ...


class SystemClock:
    """The machine's wall clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class ManualClock:
    """Stands still until it is told to move; may be set back, as wall clocks are."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance_ms(self, delta_ms: int) -> None:
        self._now_ms += delta_ms

    def set_ms(self, now_ms: int) -> None:
        self._now_ms = now_ms


class LoopClock:
    """Wall time that follows the Trio run's own clock: under a mock clock both move together.

    `epoch_ms` is the wall time at the moment when Trio's clock shows 0; `skew_ms` may be changed while it
    runs, to give each simulated machine a clock of its own.
    """

    def __init__(self, epoch_ms: int) -> None:
        self._epoch_ms = epoch_ms
        self.skew_ms = 0

    def now_ms(self) -> int:
        return self._epoch_ms + self.skew_ms + int(trio.current_time() * 1000)
