"""The gateway as a process: its clients, its listener, its place in the chassis.

Owns: joining the parts of a gateway with the process. Does not own: the parts.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from libs.chassis.broker_control import ProcessControl
from libs.chassis.listeners import bind, port_of
from libs.chassis.process import Host
from libs.clients.groups import open_groups_client
from libs.clients.metadata import open_metadata_client
from libs.clients.watcher import open_watcher
from libs.model.ids import GatewayId
from libs.rpc import IServable, open_channel
from services.gateway.config import GatewaySettings
from services.gateway.metrics import show_consumer_lag, show_statistics
from services.gateway.recorder import MetricsRecorder
from services.gateway.service import GatewayService, open_gateway


class GatewayProcess:
    """What the chassis runs."""

    def __init__(
        self,
        gateway: GatewayService,
        listeners: Sequence[trio.SocketListener],
        control: ProcessControl,
        *,
        control_address: str,
    ) -> None:
        self._gateway = gateway
        self._listeners = listeners
        self._control = control
        self._control_address = control_address

    def ports(self) -> Mapping[str, int]:
        return {"kafka_port": port_of(self._listeners)}

    def rpc_services(self) -> Sequence[IServable]:
        return ()

    def control_services(self) -> Sequence[IServable]:
        return (self._control,)

    def ready_conditions(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return {"the metadata service": self._gateway.wait_ready}

    async def serve(self) -> None:
        await self._gateway.serve_kafka(self._listeners, control_address=self._control_address)

    async def drain(self, deadline_seconds: float) -> None:
        await self._gateway.drain(trio.current_time() + deadline_seconds)


@asynccontextmanager
async def open_process(host: Host[GatewaySettings]) -> AsyncIterator[GatewayProcess]:
    """A gateway of its own; raises Invalid where the Kafka port can't be had."""
    settings = host.settings
    listeners = await bind(settings.bind_host, settings.kafka_port, setting="KAFSCALE_KAFKA_PORT")
    control = ProcessControl(
        service=settings.service,
        instance=settings.instance,
        ready=lambda: host.readiness.ready,
        draining=lambda: host.readiness.draining,
        samples=host.metrics.samples,
        clock=host.clock,
    )
    async with AsyncExitStack() as stack:
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
        groups = await stack.enter_async_context(
            open_groups_client(lambda: watcher.view.replicas, connect=open_channel, rand=host.rand)
        )
        gateway = await stack.enter_async_context(
            open_gateway(
                settings,
                gateway_id=GatewayId(settings.instance),
                watcher=watcher,
                metadata=metadata,
                groups=groups,
                connect=open_channel,
                clock=host.clock,
                rand=host.rand,
                recorder=MetricsRecorder(host.metrics),
            )
        )
        show_statistics(host.metrics, gateway.statistics)
        show_consumer_lag(host.metrics, gateway.consumer_lag)
        yield GatewayProcess(
            gateway,
            listeners,
            control,
            control_address=f"{host.settings.bind_host}:{host.admin_port}",
        )
