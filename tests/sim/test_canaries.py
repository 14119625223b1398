"""Every checker of the simulation still sees: each catches a bug that is planted for it.

`python -m tests.sim.planted` hunts all of them.
"""

from concurrent.futures import Executor
from functools import partial

import pytest

from tests.sim.checkers.judge import CHECKERS
from tests.sim.planted.catalogue import CANARIES
from tests.sim.planted.hunt import hunt

SEEDS = range(1, 41)
STEPS = 1000


@pytest.mark.timeout(1800)
def test_each_checker_catches_its_canary(pool: Executor) -> None:
    hunts = pool.map(partial(hunt, seeds=SEEDS, steps=STEPS), CANARIES)
    assert [found.bug.name for found in hunts if found.seed is None] == []


def test_no_checker_is_without_a_canary() -> None:
    assert sorted(bug.checker for bug in CANARIES) == sorted(CHECKERS)
