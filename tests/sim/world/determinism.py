"""One seed, one run: Trio's scheduler, its clock and Python's hashes, all under the seed.

Owns: what has to be replaced in the interpreter and in Trio so that a run can be repeated.
Rules: 1 tasks are scheduled in an order drawn from the seed (Trio's own hook for Hypothesis); 2 time is
virtual and jumps to the next deadline when nobody can run; 3 hashes of strings are fixed, so that the order
of sets is; 4 the collector of cycles is off while a seed runs, so that no finalizer runs at a time of its
own; 5 a task whose process is frozen is woken only when the process goes on: that is SIGSTOP.
"""

import gc
import heapq
import itertools
import os
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeVar

import trio
from trio._core import _run as trio_run
from trio.testing import MockClock

T = TypeVar("T")
HASH_SEED: Final = "0"


class Freezable(Protocol):
    """What a task can belong to."""

    frozen: bool

    def hold(self, task: trio.lowlevel.Task, wake: Any) -> None:
        """Keeps the wake-up of a task until the process goes on."""
        ...


PROCESS: ContextVar[Freezable | None] = ContextVar("simulated_process", default=None)
"""The process that a task belongs to; tasks inherit it from who started them."""


class Timers:
    """Calls at given times, made by the clock itself as it jumps: they cost no task, and only wake tasks."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    @property
    def next_at(self) -> float:
        return self._queue[0][0] if self._queue else float("inf")

    def add(self, at: float, call: Callable[[], None]) -> None:
        """`at` must lie ahead. Calls of one moment are made in the order in which they were added."""
        heapq.heappush(self._queue, (at, next(self._numbers), call))

    def make(self, now: float) -> None:
        """Makes all calls that are due."""
        while self._queue and self._queue[0][0] <= now:
            heapq.heappop(self._queue)[2]()


def _virtual_clock(timers: Timers) -> MockClock:
    """Trio's mock clock, without the look at the real one that it takes in each step, and with timers."""
    clock: Any = MockClock(autojump_threshold=0)

    def jump() -> None:
        deadline = trio_run.GLOBAL_RUN_CONTEXT.runner.deadlines.next_deadline()
        at = min(deadline, timers.next_at)
        if at == float("inf"):
            raise RuntimeError("everybody waits, and nobody for a time: nothing will ever happen again")
        if clock._virtual_base <= at:
            clock._virtual_base = at
            timers.make(at)

    clock.current_time = lambda: clock._virtual_base
    clock._autojump = jump
    found: MockClock = clock
    return found


def ensure_fixed_hashes(argv: Sequence[str]) -> None:
    """Starts the interpreter again with fixed hashes, unless they are; `argv` is what follows it."""
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        environ = {**os.environ, "PYTHONHASHSEED": HASH_SEED}
        os.execve(sys.executable, [sys.executable, *argv], environ)


def run_deterministic(
    main: Callable[[Timers], Awaitable[T]],
    *,
    seed: int | str,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> T:
    """Runs `main` in virtual time; the same seed and the same code give the same steps."""
    timers = Timers()
    with _replaced(seed):
        return trio.run(main, timers, clock=_virtual_clock(timers), instruments=instruments)


@contextmanager
def _replaced(seed: int | str) -> Iterator[None]:
    allowed, chance, reschedule = (
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING,
        trio_run._r,
        trio_run.Runner.reschedule,
    )
    gc.collect()
    gc.disable()
    patched: Any = trio_run
    patched._ALLOW_DETERMINISTIC_SCHEDULING = True
    patched._r = random.Random(f"scheduler/{seed}")
    patched.Runner.reschedule = _reschedule_unless_frozen(reschedule)
    try:
        yield
    finally:
        patched._ALLOW_DETERMINISTIC_SCHEDULING = allowed
        patched._r = chance
        patched.Runner.reschedule = reschedule
        gc.enable()


def _reschedule_unless_frozen(reschedule: Callable[..., None]) -> Callable[..., None]:
    def reschedule_or_hold(runner: Any, task: trio.lowlevel.Task, next_send: Any = trio_run._NO_SEND) -> None:
        process = task.context.get(PROCESS)
        if process is not None and process.frozen:
            # As Trio's own does: who was woken can't be cancelled out of its wait any more.
            task._abort_func = None
            process.hold(task, lambda: reschedule(runner, task, next_send))
        else:
            reschedule(runner, task, next_send)

    return reschedule_or_hold
