"""A process's wall clock moves when it is told, and its monotonic clock does not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.clocks import Clocks, find_compiler

CODE = """
import datetime, sys, time
for _ in sys.stdin:
    print(time.time(), time.monotonic(), datetime.datetime.now(datetime.UTC).timestamp(), flush=True)
"""


def test_a_clock_jumps_and_comes_back(tmp_path: Path) -> None:
    if find_compiler() is None:
        with pytest.raises(FileNotFoundError, match="clocks can't be moved"):
            Clocks(tmp_path)
        return
    clocks = Clocks(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", CODE],
        env={**os.environ, **clocks.environment("owner-0")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for seconds in (0.0, 3600.0, -60.5, 0.0):
            clocks.jump("owner-0", seconds)
            process.stdin.write("now\n")
            process.stdin.flush()
            wall, monotonic, of_datetime = map(float, process.stdout.readline().split())
            assert abs(wall - time.time() - seconds) < 5
            assert abs(of_datetime - wall) < 1
            assert abs(monotonic - time.monotonic()) < 5
        process.stdin.close()
