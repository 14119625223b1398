"""The partition owner as a process: its store, its clients, its place in the chassis.

Owns: joining the parts of an owner with the process. Does not own: the parts.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from libs.chassis.object_store import open_configured_store
from libs.chassis.process import Host
from libs.clients.metadata import open_metadata_client
from libs.clients.watcher import open_watcher
from libs.concurrency.threads import Threads
from libs.model.ids import OwnerId
from libs.rpc import IServable, open_channel
from services.partition_owner.config import OwnerSettings
from services.partition_owner.control_rpc import OwnerControlRpc
from services.partition_owner.list_offsets import RECORDS_POOL
from services.partition_owner.metrics import show_statistics
from services.partition_owner.recorder import MetricsRecorder
from services.partition_owner.service import PartitionOwner, open_partition_owner
from services.partition_owner.store_id import ensure_store_id


class OwnerProcess:
    """What the chassis runs."""

    def __init__(self, owner: PartitionOwner, control: OwnerControlRpc) -> None:
        self._owner = owner
        self._control = control

    def ports(self) -> Mapping[str, int]:
        return {}

    def rpc_services(self) -> Sequence[IServable]:
        return self._owner.rpc_services()

    def control_services(self) -> Sequence[IServable]:
        return (self._control,)

    def ready_conditions(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return {"the metadata service": self._owner.wait_ready}

    async def serve(self) -> None:
        await trio.sleep_forever()

    async def drain(self, deadline_seconds: float) -> None:
        await self._owner.drain(deadline_seconds)


@asynccontextmanager
async def open_process(host: Host[OwnerSettings]) -> AsyncIterator[OwnerProcess]:
    """An owner of its own; raises Invalid or Unavailable where its store does not work."""
    settings = host.settings
    recorder = MetricsRecorder(host.metrics)
    async with AsyncExitStack() as stack:
        objects = await stack.enter_async_context(
            open_configured_store(settings, rand=host.rand, metrics=host.metrics)
        )
        watcher = await stack.enter_async_context(
            open_watcher(
                name=settings.instance,
                addresses=settings.metadata_addresses,
                connect=open_channel,
                rand=host.rand,
            )
        )
        metadata = await stack.enter_async_context(
            open_metadata_client(settings.metadata_addresses, open_channel, rand=host.rand)
        )
        owner = await stack.enter_async_context(
            open_partition_owner(
                settings,
                owner_id=OwnerId(settings.instance),
                address=settings.advertised_rpc_address or f"{settings.bind_host}:{host.rpc_port}",
                zone=settings.zone,
                control_address=f"{settings.bind_host}:{host.admin_port}",
                store=objects.store,
                store_id=await ensure_store_id(objects.store, host.rand),
                reads=objects.reads,
                metadata=metadata,
                watcher=watcher,
                clock=host.clock,
                rand=host.rand,
                threads=Threads({RECORDS_POOL: 3}),
                recorder=recorder,
            )
        )
        show_statistics(host.metrics, owner.statistics)
        control = OwnerControlRpc(
            owner.control(),
            service=settings.service,
            instance=settings.instance,
            ready=lambda: host.readiness.ready,
            draining=lambda: host.readiness.draining,
            samples=host.metrics.samples,
            clock=host.clock,
        )
        yield OwnerProcess(owner, control)
