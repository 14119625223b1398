"""Half a minute of chaos with real clients: `make chaos` is the same for as long as one likes."""

from pathlib import Path

import pytest

from tests.chaos.report import page
from tests.chaos.run import Plan, run_chaos
from tests.chaos.schedule import schedule

SEED = 5
SECONDS = 30.0


@pytest.mark.timeout(600)  # everything that waits has its own deadline, which tells more
def test_chaos_breaks_no_promise(tmp_path: Path) -> None:
    faults = schedule(SEED, SECONDS)
    plan = Plan(seed=SEED, seconds=SECONDS, faults=faults, command="pytest tests/chaos/test_chaos.py")
    lines: list[str] = []
    outcome = run_chaos(tmp_path, plan, tell=lines.append)
    told = "\n".join([*lines, *outcome.notes, *outcome.findings])
    assert not outcome.findings, told
    assert outcome.intervals, told
    assert "No promise was broken" in page(outcome)
