"""The metadata service as a process: its store, its place in the chassis.

Owns: joining the parts of a replica with the process. Does not own: the parts.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from libs.chassis.broker_control import ProcessControl
from libs.chassis.process import Host
from libs.model.ids import ReplicaId
from libs.rpc import IServable, is_refused
from services.metadata.config import MetadataSettings
from services.metadata.metrics import show_statistics
from services.metadata.service import Metadata, open_metadata
from services.metadata.stores import open_kv


class MetadataProcess:
    """What the chassis runs."""

    def __init__(self, metadata: Metadata, control: ProcessControl) -> None:
        self._metadata = metadata
        self._control = control

    def ports(self) -> Mapping[str, int]:
        return {}

    def rpc_services(self) -> Sequence[IServable]:
        return self._metadata.rpc_services()

    def control_services(self) -> Sequence[IServable]:
        return (self._control,)

    def ready_conditions(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return {"the metadata store": self._metadata.wait_ready}

    async def serve(self) -> None:
        await trio.sleep_forever()

    async def drain(self, deadline_seconds: float) -> None:
        await self._metadata.drain(deadline_seconds)


@asynccontextmanager
async def open_process(host: Host[MetadataSettings]) -> AsyncIterator[MetadataProcess]:
    """A replica of its own; raises Invalid or Unavailable where its store can't be used."""
    settings = host.settings
    async with AsyncExitStack() as stack:
        kv = await stack.enter_async_context(open_kv(settings, rand=host.rand))
        metadata = await stack.enter_async_context(
            open_metadata(
                settings,
                replica_id=ReplicaId(settings.instance),
                address=settings.advertised_rpc_address or f"{settings.bind_host}:{host.rpc_port}",
                zone=settings.zone,
                kv=kv,
                clock=host.clock,
                rand=host.rand,
                # Also on SQLite: the owners are other processes, and outlive a restart of this one.
                exclusive_store=False,
                is_refused=is_refused,
            )
        )
        show_statistics(host.metrics, metadata.statistics)
        control = ProcessControl(
            service=settings.service,
            instance=settings.instance,
            ready=lambda: host.readiness.ready,
            draining=lambda: host.readiness.draining,
            samples=host.metrics.samples,
            clock=host.clock,
        )
        yield MetadataProcess(metadata, control)
