"""Damaged requests against the gateway parser, in a child process: kio can end one, and that must be seen."""

import subprocess
import sys

import pytest

CHILD = [sys.executable, "-m", "tests.fuzz.gateway_frames"]

WITHOUT_THE_GUARD = """
from services.gateway import codec
codec.check_request = lambda cls, frame, start: (frame, start)
from tests.fuzz.gateway_frames import main
main()
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_only_invalid_comes_out(seed: int) -> None:
    done = subprocess.run(
        [*CHILD, "--seed", str(seed), "--count", "3000"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    refused = int(done.stdout.split(", ")[1].split()[0])
    assert refused > 1500


def test_the_fuzzer_has_teeth() -> None:
    """Without the guard the same inputs end the process, or let something else out."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_GUARD, "--seed", "1", "--count", "3000"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
