"""One child process of the stack: started, watched, asked whether it is ready, ended.

Owns: its log file, its ports as it told them, signals to it. Rules: 1 a child is in a process group of its
own, so that Ctrl-C reaches the stack alone, which then stops its children in order.
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import trio

from tools.stack.layout import Ports

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 40.0
_POLL_SECONDS = 0.05


class StackError(Exception):
    """A process of the stack did not do what it should; the message says which and where its log is."""


class Child:
    """A process of the stack. `ports` are what it listens on, once it told."""

    def __init__(self, *, name: str, log_path: Path, cwd: Path) -> None:
        self.name = name
        self.log_path = log_path
        self.ports = Ports()
        self.ready_url = ""
        self._cwd = cwd
        self._process: trio.Process | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """None where it never ran."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Any thread may ask: unlike Trio's own look it takes no exit code, which only Trio's thread may."""
        if self._process is None:
            return False
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False  # Trio has taken it already

    async def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KAFSCALE_")}
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = await trio.lowlevel.open_process(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**kept, **environment, "PYTHONUNBUFFERED": "1"},
                cwd=self._cwd,
                start_new_session=True,
            )

    def log_since_start(self) -> str:
        """What this life of the process wrote."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    async def learn_ports(self) -> Ports:
        """Waits for the line in which a service tells its ports."""
        with trio.move_on_after(START_SECONDS_MAX):
            while self.alive:
                for line in self.log_since_start().splitlines():
                    if '"listening"' in line:
                        told = json.loads(line)
                        self.ports = Ports(
                            kafka=told.get("kafka_port") or -1,
                            admin=told["admin_port"],
                            rpc=told.get("rpc_port") or -1,
                        )
                        return self.ports
                await trio.sleep(_POLL_SECONDS)
        raise self.failure("did not begin to listen")

    async def wait_ready(self) -> None:
        """Polls `ready_url` until it answers 200."""
        async with httpx.AsyncClient(trust_env=False) as client:
            with trio.move_on_after(START_SECONDS_MAX):
                while self.alive:
                    try:
                        if (await client.get(self.ready_url, timeout=5)).status_code == httpx.codes.OK:
                            return
                    except httpx.TransportError:
                        pass  # not listening yet
                    await trio.sleep(_POLL_SECONDS)
        raise self.failure("did not become ready")

    def failure(self, what: str) -> StackError:
        ended = "" if self.alive or self._process is None else f" and ended with {self._process.returncode}"
        last = "\n".join("  " + line for line in self.log_since_start().splitlines()[-8:])
        return StackError(f"{self.name} {what}{ended}; its log is {self.log_path}, the last lines:\n{last}")

    def send(self, number: signal.Signals) -> None:
        if self.alive and self._process is not None:
            self._process.send_signal(number)

    async def wait_ended(self) -> int:
        """Its exit code; negative for the signal that killed it."""
        assert self._process is not None, f"{self.name} never ran"
        return await self._process.wait()

    async def stop(self) -> int | None:
        """SIGTERM, then SIGKILL where that takes too long. None where it did not run."""
        if self._process is None:
            return None
        self.send(signal.SIGTERM)
        with trio.move_on_after(STOP_SECONDS_MAX):
            return await self._process.wait()
        self.send(signal.SIGKILL)
        return await self._process.wait()
