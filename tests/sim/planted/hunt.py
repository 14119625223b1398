"""Runs seeds with a bug planted until its checker catches it.

Owns: the search, what it found. Does not own: planting, worlds, judges.
Rules: 1 only the checker that is named for the bug counts; what others find is told, and is no catch; 2 a
seed that does not come to its end is told too: a bug may break the world itself; 3 it is a catch only if the
same checker has nothing to say about the same seed without the bug.
"""

import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from tests.sim.planted.bug import PlantedBug
from tests.sim.planted.plant import planted
from tests.sim.run import run_seed

SEED_SECONDS_MAX = 120


@dataclass(slots=True, kw_only=True)
class Hunt:
    """What became of the search. `seed` is None where nobody caught it."""

    bug: PlantedBug
    seed: int | None = None
    tried: int = 0
    seconds: float = 0.0
    evidence: str = ""
    others: Counter[str] = field(default_factory=Counter)
    """Violations of other checkers, up to the catch."""


class _TooSlow(BaseException):
    """No Exception, so that no supervisor of the world swallows it."""


def hunt(bug: PlantedBug, seeds: Iterable[int], *, steps: int) -> Hunt:
    """Raises PlantError where the bug does not fit the code."""
    began = time.monotonic()
    found = Hunt(bug=bug)
    for seed in seeds:
        found.tried += 1
        with planted(bug):
            violations = _violations(seed, steps)
        caught = [each for each in violations if each.startswith(f"{bug.checker}:")]
        found.others.update(each.partition(":")[0] for each in violations if each not in caught)
        if not caught:
            continue
        if any(each.startswith(f"{bug.checker}:") for each in _violations(seed, steps)):
            found.others[f"{bug.checker} without the bug"] += 1
            continue
        found.seed, found.evidence = seed, caught[0]
        break
    found.seconds = time.monotonic() - began
    return found


def _violations(seed: int, steps: int) -> tuple[str, ...]:
    try:
        with _bounded(SEED_SECONDS_MAX):
            return run_seed(seed, steps=steps)[0].violations
    except BaseException as error:  # the supervisor: the next seed may tell more
        if isinstance(error, _TooSlow) or (
            isinstance(error, BaseExceptionGroup) and error.subgroup(_TooSlow)
        ):
            return (f"world: seed {seed} took more than {SEED_SECONDS_MAX} s of CPU",)
        if not isinstance(error, Exception):
            raise
        return (f"world: seed {seed} broke: {type(error).__name__}: {error}",)


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
