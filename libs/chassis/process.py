"""One process from its first line to its exit code.

Owns: the nesting (telemetry > storage > background > handlers > listeners), signals, the drain and its
deadline, exit codes. Does not own: what a service is.
Rules: 1 a start that can't succeed says why in one line and exits with 1 (2 for settings); 2 the first
SIGTERM or SIGINT drains, the second one ends at once; 3 a drain that is late is logged and cut off.
"""

import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

import structlog
import trio

from libs.chassis.config import ServiceSettings
from libs.chassis.control_port import ControlPort
from libs.chassis.listeners import bind, port_of
from libs.chassis.open_files import raise_open_files
from libs.chassis.readiness import Readiness
from libs.concurrency.clock import Clock, SystemClock
from libs.concurrency.rand import Rand, SystemRand
from libs.model.errors import Invalid, KafscaleError
from libs.model.limits import KIB, MIB
from libs.rpc import Health, IServable, Server, with_reflection
from libs.telemetry.logs import configure_logs
from libs.telemetry.metrics import Metrics

_CALLS_END_SECONDS = 1.0
"""What calls that are still open after the service's own drain get to end: streams may be for ever."""

S = TypeVar("S", bound=ServiceSettings)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host(Generic[S]):
    """What a process hands to its service."""

    settings: S
    metrics: Metrics
    readiness: Readiness
    clock: Clock
    rand: Rand
    rpc_port: int | None
    """The port that internal RPC listens on; None where the service has none."""
    admin_port: int
    stop: Callable[[], None]
    """Asks for an orderly end, as SIGTERM does: for a service that can't go on."""


class Service(Protocol):
    """What a process runs. It is an async context manager's value: opened before any listener serves."""

    def rpc_services(self) -> Sequence[IServable]:
        """gRPC services of the internal port."""
        ...

    def control_services(self) -> Sequence[IServable]:
        """gRPC services of the control port."""
        ...

    def ports(self) -> Mapping[str, int]:
        """The service's own listening ports, by name: {"kafka_port": 9092}."""
        ...

    def ready_conditions(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What must have happened once before the process is ready, by name."""
        ...

    async def serve(self) -> None:
        """Serves the service's own listeners until cancelled; what it waits for first is its own affair."""
        ...

    async def drain(self, deadline_seconds: float) -> None:
        """Hands over and finishes; cut off at the deadline."""
        ...


OpenService = Callable[[Host[S]], AbstractAsyncContextManager[Service]]


def run(settings_class: type[S], open_service: OpenService[S], environ: Mapping[str, str]) -> int:
    """Runs a service with the process's flags; returns the exit code."""
    try:
        settings = settings_class.load(argv=sys.argv[1:], environ=environ)
    except Invalid as error:
        sys.stderr.write(f"{settings_class.service}: {error.message}\n")
        return 2
    keep_freed_memory()
    raise_open_files()
    configure_logs(service=settings.service, level=settings.log_level, log_format=settings.log_format)
    try:
        return trio.run(partial(_Process(settings, open_service).run))
    except BaseExceptionGroup as group:
        return _failed(settings, group)
    except KafscaleError as error:
        return _failed(settings, BaseExceptionGroup("start", [error]))


def keep_freed_memory() -> None:
    """Lets glibc keep freed buffers of up to 32 MiB instead of giving each back to the kernel.

    Its mmap threshold follows the largest mapped block that was freed, up to just below 32 MiB (mallopt(3));
    without this each large message pays a page fault for every 4 KiB: 470 MB per CPU second of gRPC became
    645.
    """
    bytearray(32 * MIB - 64 * KIB)


def _failed(settings: ServiceSettings, group: BaseExceptionGroup[BaseException]) -> int:
    """Errors of our own are for people and get one line each; anything else is a bug and keeps its trace."""
    expected, bugs = group.split(KafscaleError)
    for error in _leaves(expected):
        assert isinstance(error, KafscaleError)
        log.error("process_failed", service=settings.service, reason=error.reason.value, error=error.message)
    if bugs is not None:
        raise bugs
    return 1


def _leaves(group: BaseExceptionGroup[BaseException] | None) -> list[BaseException]:
    if group is None:
        return []
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


class _Process(Generic[S]):
    def __init__(self, settings: S, open_service: OpenService[S]) -> None:
        self._settings = settings
        self._open_service = open_service
        self._readiness = Readiness()
        self._stopping = trio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        settings = self._settings
        rpc_setting: int | None = getattr(settings, "rpc_port", None)
        admin = await bind(settings.bind_host, settings.admin_port, setting="KAFSCALE_ADMIN_PORT")
        rpc = (
            None
            if rpc_setting is None
            else await bind(settings.bind_host, rpc_setting, setting="KAFSCALE_RPC_PORT")
        )
        metrics = Metrics()
        host = Host(
            settings=settings,
            metrics=metrics,
            readiness=self._readiness,
            clock=SystemClock(),
            rand=SystemRand(),
            rpc_port=None if rpc is None else port_of(rpc),
            admin_port=port_of(admin),
            stop=self._stopping.set,
        )
        try:
            async with trio.open_nursery() as signals:
                await signals.start(self._watch_signals, signals.cancel_scope)
                async with self._open_service(host) as service:
                    await self._serve(service, host, admin, rpc)
                signals.cancel_scope.cancel()
        finally:
            metrics.close()
        log.info("process_stopped", exit_code=self._exit_code)
        return self._exit_code

    async def _serve(
        self,
        service: Service,
        host: Host[S],
        admin: list[trio.SocketListener],
        rpc: list[trio.SocketListener] | None,
    ) -> None:
        health = Health()
        control = Server(with_reflection([*service.control_services(), health]))
        port = ControlPort(rpc=control, readiness=self._readiness, metrics=host.metrics)
        internal = Server(service.rpc_services())
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_listeners, port.serve_connection, admin))
            if rpc is not None:
                await nursery.start(internal.serve, rpc)
            log.info("listening", admin_port=host.admin_port, rpc_port=host.rpc_port, **service.ports())
            nursery.start_soon(service.serve)
            nursery.start_soon(self._become_ready, service, health)
            await self._stopping.wait()
            health.set_serving(False)
            await self._drain(service, internal, control)
            nursery.cancel_scope.cancel()

    async def _become_ready(self, service: Service, health: Health) -> None:
        await self._readiness.latch_after(dict(service.ready_conditions()))
        health.set_serving(True)
        log.info("process_ready")

    async def _drain(self, service: Service, internal: Server, control: Server) -> None:
        seconds = self._settings.drain_seconds
        log.info("drain_began", deadline_seconds=seconds)
        self._readiness.begin_drain()
        with trio.move_on_after(seconds) as scope:
            await service.drain(seconds)
            await internal.drain(min(scope.deadline, trio.current_time() + _CALLS_END_SECONDS))
            await control.drain(min(scope.deadline, trio.current_time() + _CALLS_END_SECONDS))
        if scope.cancelled_caught:
            log.warning("drain_cut_off", deadline_seconds=seconds)

    async def _watch_signals(
        self, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            task_status.started()
            async for number in received:
                name = signal.Signals(number).name
                if self._stopping.is_set():
                    log.warning("process_cut_off", signal=name)
                    self._exit_code = 128 + number
                    scope.cancel()
                    return
                log.info("process_stopping", signal=name)
                self._stopping.set()
