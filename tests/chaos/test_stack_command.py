"""`make stack` and `make stack-restart` as a user has them: addresses, stack.json, one dead, Ctrl-C."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.chaos.load import wait_until
from tools.stack.layout import SERVICES, STORES
from tools.stack.stack import HOST, ROOT

UP_SECONDS_MAX = 120.0
DOWN_SECONDS_MAX = 90.0


def _free_base() -> int:
    """A port base whose 27 ports nobody has now."""
    for base in random.SystemRandom().sample(range(15000, 30000), 100):
        ports = [base + 100 * index + offset for index in range(9) for offset in range(3)]
        if all(_is_free(port) for port in ports):
            return base
    raise AssertionError("no free port base")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex((HOST, port)) != 0


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tools.stack", *arguments]


@contextmanager
def _front(directory: Path, base: int) -> Iterator["subprocess.Popen[bytes]"]:
    """`make stack` in front, as a child; killed with all it started where a test fails."""
    with (directory / "front.log").open("w") as log:
        process = subprocess.Popen(_command("up"), env=_environment(directory, base), cwd=ROOT, stdout=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            front = psutil.Process(process.pid)
            left = [front, *front.children(recursive=True)]
            for each in left:
                each.kill()
            process.wait()


def _environment(directory: Path, base: int) -> dict[str, str]:
    return {
        **os.environ,
        "KAFSCALE_DATA_DIR": str(directory / "data"),
        "KAFSCALE_STACK_PORT_BASE": str(base),
    }


def _stack_json(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "data" / "stack.json").read_text())
    return {"pid": found["pid"]} | {each["name"]: each for each in found["processes"]}


def test_a_stack_in_front_is_restarted_by_name_and_ended_by_ctrl_c(tmp_path: Path) -> None:
    base = _free_base()
    with _front(tmp_path, base) as front:
        up = tmp_path / "front.log"
        wait_until(
            lambda: front.poll() is not None or "The stack is up" in up.read_text(),
            seconds_max=UP_SECONDS_MAX,
        )
        known = _stack_json(tmp_path)
        assert known.pop("pid") == front.pid
        assert set(known) == {*SERVICES, *STORES}
        for index, name in enumerate(SERVICES):
            _check_ports(known[name], base + 100 * index)
        pids = {name: each["pid"] for name, each in known.items()}
        assert len({pid for pid in pids.values() if psutil.pid_exists(pid)}) == 9

        os.kill(pids["owner-1"], signal.SIGKILL)
        wait_until(lambda: "owner-1 is dead" in up.read_text(), seconds_max=30)
        restarted = subprocess.run(
            _command("restart", "owner-1"),
            env=_environment(tmp_path, base),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=UP_SECONDS_MAX,
            check=False,
        )
        assert (restarted.returncode, restarted.stdout) == (0, "owner-1 runs again\n"), restarted.stderr
        after = _stack_json(tmp_path)
        assert after["owner-1"]["pid"] != pids["owner-1"]
        assert {**after["owner-1"], "pid": 0} == {**known["owner-1"], "pid": 0}
        pids["owner-1"] = after["owner-1"]["pid"]
        assert psutil.pid_exists(pids["owner-1"])

        front.send_signal(signal.SIGINT)
        assert front.wait(DOWN_SECONDS_MAX) == 0
        assert not [name for name, pid in pids.items() if psutil.pid_exists(pid)]
        assert not (tmp_path / "data" / "stack.json").exists()


def _check_ports(told: dict[str, Any], first: int) -> None:
    """The formula, and that each port is really there."""
    is_gateway = told["kafka_port"] is not None
    assert told["kafka_port"] == (first if is_gateway else None)
    assert told["control_port"] == first + 1
    assert told["rpc_port"] == (None if is_gateway else first + 2)
    assert Path(told["log"]).stat().st_size > 0
    for port in filter(None, (told["kafka_port"], told["rpc_port"])):
        socket.create_connection((HOST, port), timeout=5).close()
    ready = httpx.get(f"http://{HOST}:{told['control_port']}/readyz", trust_env=False)
    assert ready.status_code == httpx.codes.OK


def test_restart_without_a_stack_says_so(tmp_path: Path) -> None:
    answer = subprocess.run(
        _command("restart", "owner-0"),
        env=_environment(tmp_path, 9092),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 1
    assert "no stack runs" in answer.stderr
