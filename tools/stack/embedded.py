"""`services.standalone` as a process, for tests and benchmarks.

Owns: its start on free ports, kept over restarts. Does not own: the process itself (processes.py).
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tools.servers import free_ports
from tools.stack.processes import Child
from tools.stack.stack import HOST, ROOT


class Embedded:
    """`services.standalone` as a process that can be killed and started again on the same data and ports."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.child = Child(name="standalone", log_path=data_dir.parent / "standalone.log", cwd=ROOT)
        self._settings = settings
        self._kafka_port, self._admin_port = free_ports(2)

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.child.ports.kafka}"

    async def start(self) -> None:
        """Starts it and waits until it is ready."""
        environment = {
            "KAFSCALE_DATA_DIR": str(self.data_dir),
            "KAFSCALE_KAFKA_PORT": str(self._kafka_port),
            "KAFSCALE_ADMIN_PORT": str(self._admin_port),
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
