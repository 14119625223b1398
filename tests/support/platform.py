"""The platform as processes, for tests with real clients: embedded (one process) or a stack (nine).

Owns: starting and ending both on free ports. Does not own: the clients.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tools.stack.embedded import open_embedded
from tools.stack.layout import StackSettings
from tools.stack.processes import Child
from tools.stack.stack import HOST, Stack, open_stack

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
