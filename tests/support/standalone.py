"""The whole platform in this process: `services.standalone` as its chassis opens it, on free ports.

Owns: its start and its drain. Does not own: signals and the control port (libs/chassis/process.py), which
only a process of its own has: tools/stack/embedded.py.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from libs.chassis.process import Host
from libs.chassis.readiness import Readiness
from libs.concurrency.clock import SystemClock
from libs.concurrency.rand import SystemRand
from libs.telemetry.metrics import Metrics
from services.standalone.config import StandaloneSettings
from services.standalone.main import StandaloneProcess, open_process

DRAIN_SECONDS_MAX = 10.0


class Standalone:
    """What tests look at: the process's parts, its RPCs and its metrics."""

    def __init__(self, process: StandaloneProcess, metrics: Metrics) -> None:
        self.process = process
        self._metrics = metrics

    @property
    def kafka_port(self) -> int:
        return self.process.ports()["kafka_port"]

    def calls_started(self) -> dict[str, int]:
        """gRPC calls since the start by path, over all channels of the process."""
        calls: dict[str, int] = {}
        for _address, statistics in self.process.network.statistics():
            for path, count in statistics.calls_started.items():
                calls[path] = calls.get(path, 0) + count
        return calls

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(
            sample.value
            for sample in self._metrics.samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@asynccontextmanager
async def open_standalone(data_dir: Path, **settings: Any) -> AsyncIterator[Standalone]:
    """Serving and ready; drained at the end of the block."""
    metrics, readiness = Metrics(), Readiness()
    host = Host(
        settings=StandaloneSettings(data_dir=data_dir, kafka_port=0, instance="walk", **settings),
        metrics=metrics,
        readiness=readiness,
        clock=SystemClock(),
        rand=SystemRand(),
        rpc_port=None,
        admin_port=0,
        stop=_never,
    )
    try:
        async with open_process(host) as process, trio.open_nursery() as nursery:
            nursery.start_soon(process.serve)
            await readiness.latch_after(dict(process.ready_conditions()))
            yield Standalone(process, metrics)
            with trio.move_on_after(DRAIN_SECONDS_MAX):
                await process.drain(DRAIN_SECONDS_MAX)
            nursery.cancel_scope.cancel()
    finally:
        metrics.close()


def _never() -> None:
    raise AssertionError("the process asked to be stopped")
