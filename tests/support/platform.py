"""The platform as processes, for tests with real clients: embedded (one process) or a stack (nine).

Owns: starting and ending both on free ports, one more gateway for a stack. Does not own: the clients.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trio

from tools.stack.embedded import open_embedded
from tools.stack.layout import METADATA, Ports, StackSettings, environment_of
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
        if self.stack is not None:
            return self.stack.bootstrap
        return [f"{HOST}:{child.ports.kafka}" for child in self.children.values() if child.ports.kafka > 0]

    def control(self, name: str) -> str:
        """The control address of a process."""
        return f"{HOST}:{self.children[name].ports.admin}"

    @property
    def bootstrap(self) -> str:
        return ",".join(self.bootstraps)


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


@asynccontextmanager
async def open_gateway(stack: Stack, name: str, *, limits: str = "", **settings: str) -> AsyncIterator[Child]:
    """One more gateway of a stack, ready, on free ports, with settings of its own.

    `limits`: what a shell does before, e.g. "ulimit -Sn 1024".
    """
    child = Child(name=name, log_path=stack.data_dir / "logs" / f"{name}.log", cwd=ROOT)
    metadata = tuple(f"{HOST}:{stack.children[each].ports.rpc}" for each in METADATA)
    environment = environment_of(
        name, Ports(kafka=0, admin=0), etcd="", minio="", metadata=metadata, settings=stack.settings
    )
    try:
        command = ["sh", "-c", f'{limits or ":"}; exec "$@"', "sh", sys.executable, "-m", "services.gateway"]
        await child.start(command, {**environment, **settings})
        await child.learn_ports()
        child.ready_url = f"http://{HOST}:{child.ports.admin}/readyz"
        await child.wait_ready()
        yield child
    finally:
        with trio.CancelScope(shield=True):  # stop has its own deadline
            await child.stop()
