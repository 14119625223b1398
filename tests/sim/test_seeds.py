"""The simulation within the test command: fresh seeds, seeds that once failed, and one trace a seed.

A seed that fails is printed with the command that replays it.
"""

import subprocess
import sys
from concurrent.futures import Executor
from datetime import UTC, datetime

import pytest

from tests.sim.report import replay
from tests.sim.run import run_seed

FRESH_SEEDS = 50
STEPS = 2000
FAULTS = 20
REGRESSIONS = (1, 2, 556, 1637, 1990, 3022, 3025)
"""Seeds that found something, if only in the world, and the first few: they cost little."""


def first_fresh_seed() -> int:
    """Another one each minute."""
    return int(f"{datetime.now(tz=UTC):%y%m%d%H%M}") * 100


def failures_of(seed: int) -> list[str]:
    """What is wrong with a seed, with the command that shows it again."""
    outcome = run_seed(seed, steps=STEPS)[0]
    found = [f"{replay(outcome)}: {violation}" for violation in outcome.violations]
    faults = sum(outcome.faults.values())
    if outcome.operations < STEPS or faults < FAULTS:
        found.append(f"{replay(outcome)}: only {outcome.operations} operations, {faults} faults")
    return found


@pytest.mark.timeout(1800)
def test_fresh_seeds_keep_every_promise(pool: Executor) -> None:
    first = first_fresh_seed()
    sys.stdout.write(f"seeds {first}..{first + FRESH_SEEDS - 1}\n")
    failed = [line for lines in pool.map(failures_of, range(first, first + FRESH_SEEDS)) for line in lines]
    assert failed == []


@pytest.mark.timeout(600)
def test_seeds_that_once_failed(pool: Executor) -> None:
    assert [line for lines in pool.map(failures_of, REGRESSIONS) for line in lines] == []


def test_a_seed_has_one_trace() -> None:
    """Two processes, each with its own addresses and memory, do the same to the last step."""
    command = [sys.executable, "-m", "tests.sim", "--seed", "7", "--steps", "600"]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    traces = [[line for line in run.stdout.splitlines() if line.startswith("trace ")] for run in runs]
    assert len(traces[0]) == 1
    assert traces[0] == traces[1]
