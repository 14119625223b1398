"""The platform as processes, for tests with real clients: embedded (one process) or a stack (nine).

Owns: starting and ending both on free ports. Does not own: the clients.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trio

from tools.stack.layout import StackSettings
from tools.stack.processes import Child
from tools.stack.stack import HOST, ROOT, Stack, open_stack

Mode = Literal["embedded", "stack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    mode: Mode
    children: Mapping[str, Child]
    stack: Stack | None = None
    """Only in stack mode."""

    @property
    def bootstraps(self) -> list[str]:
        """The Kafka address of each gateway."""
        return [f"{HOST}:{child.ports.kafka}" for child in self.children.values() if child.ports.kafka > 0]

    @property
    def bootstrap(self) -> str:
        return ",".join(self.bootstraps)


class Embedded:
    """`services.standalone` as a process that can be killed and started again on the same data and ports."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.child = Child(name="standalone", log_path=data_dir.parent / "standalone.log", cwd=ROOT)
        self._settings = settings

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.child.ports.kafka}"

    async def start(self) -> None:
        """Starts it and waits until it is ready."""
        ports = self.child.ports
        environment = {
            "KAFSCALE_DATA_DIR": str(self.data_dir),
            "KAFSCALE_KAFKA_PORT": str(max(ports.kafka, 0)),
            "KAFSCALE_ADMIN_PORT": str(ports.admin),
            "KAFSCALE_LOG_FORMAT": "json",
            **self._settings,
        }
        await self.child.start([sys.executable, "-m", "services.standalone"], environment)
        await self.child.learn_ports()
        self.child.ready_url = f"http://{HOST}:{self.child.ports.admin}/readyz"
        await self.child.wait_ready()


@asynccontextmanager
async def open_embedded(data_dir: Path, **settings: str) -> AsyncIterator[Embedded]:
    """A standalone process that is ready, on free ports; stopped at the end of the block."""
    embedded = Embedded(data_dir, settings)
    try:
        await embedded.start()
        yield embedded
    finally:
        with trio.CancelScope(shield=True):  # stop has its own deadline
            await embedded.child.stop()


@asynccontextmanager
async def open_platform(mode: Mode, directory: Path, **settings: str) -> AsyncIterator[Platform]:
    """Either mode, ready, on free ports. `settings` are KAFSCALE_* variables for every service."""
    if mode == "embedded":
        async with open_embedded(directory / "data", **settings) as embedded:
            yield Platform(mode=mode, children={"standalone": embedded.child})
        return
    stack_settings = StackSettings(port_base=None, extra=settings, etcd_fsync=False)
    async with open_stack(directory, stack_settings) as stack:
        yield Platform(mode=mode, children=stack.children, stack=stack)
