"""Joins metadata, one partition owner and one gateway over the in-memory transport.

Owns: who is opened inside whom.
Rules: 1 metadata outlives the owner, the owner outlives the gateway; a drain goes the other way round;
2 the metadata store locks the data directory, which proves that the predecessor is dead, so that a restart
waits for no lease.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import trio

from libs.chassis.listeners import bind, port_of
from libs.chassis.object_store import open_configured_store
from libs.chassis.process import Host
from libs.clients.groups import open_groups_client
from libs.clients.metadata import open_metadata_client
from libs.clients.watcher import open_watcher
from libs.concurrency.threads import Threads
from libs.model.ids import GatewayId, OwnerId, ReplicaId
from libs.rpc import IServable, Server
from services.gateway.metrics import show_consumer_lag
from services.gateway.metrics import show_statistics as show_gateway
from services.gateway.recorder import MetricsRecorder as GatewayRecorder
from services.gateway.service import GatewayService, open_gateway
from services.metadata.kv.sqlite import open_sqlite_kv
from services.metadata.metrics import show_statistics as show_metadata
from services.metadata.service import Metadata, open_metadata
from services.partition_owner.control_rpc import OwnerControlRpc
from services.partition_owner.list_offsets import RECORDS_POOL
from services.partition_owner.metrics import show_statistics as show_owner
from services.partition_owner.recorder import MetricsRecorder as OwnerRecorder
from services.partition_owner.service import PartitionOwner, open_partition_owner
from services.partition_owner.store_id import ensure_store_id
from services.standalone.config import StandaloneSettings
from services.standalone.memory_network import MemoryNetwork

METADATA, OWNER = "metadata", "owner"
"""Addresses inside the process, and the names under which the services register."""
_TLS_HINT = "Kafka clients have to speak TLS: security.protocol=SSL.\n"
GATEWAY_DRAIN_SHARE = 0.3
"""Of the drain's time: what clients get to hear their answers."""


class StandaloneProcess:
    """What the chassis runs."""

    def __init__(
        self,
        *,
        metadata: Metadata,
        owner: PartitionOwner,
        gateway: GatewayService,
        listeners: Sequence[trio.SocketListener],
        control: OwnerControlRpc,
        network: MemoryNetwork,
        announce: Callable[[], Awaitable[None]],
    ) -> None:
        self.network = network
        self._metadata = metadata
        self._owner = owner
        self._gateway = gateway
        self._listeners = listeners
        self._control = control
        self._announce = announce

    def ports(self) -> Mapping[str, int]:
        return {"kafka_port": port_of(self._listeners)}

    def rpc_services(self) -> Sequence[IServable]:
        return ()

    def control_services(self) -> Sequence[IServable]:
        return (self._control,)

    def ready_conditions(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return {
            "the metadata service": self._metadata.wait_ready,
            "the partition owner": self._owner.wait_ready,
            "the gateway": self._gateway.wait_ready,
        }

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._gateway.serve_kafka, self._listeners)
            await self._announce()

    async def drain(self, deadline_seconds: float) -> None:
        deadline = trio.current_time() + deadline_seconds
        await self._gateway.drain(trio.current_time() + deadline_seconds * GATEWAY_DRAIN_SHARE)
        await self._owner.drain(max(0.0, deadline - trio.current_time()))
        await self._metadata.drain(max(0.0, deadline - trio.current_time()))


@asynccontextmanager
async def open_process(host: Host[StandaloneSettings]) -> AsyncIterator[StandaloneProcess]:
    """All three services. Raises Invalid or Unavailable, naming the setting, where it can't start."""
    settings, rand, clock = host.settings, host.rand, host.clock
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:
        listeners = await bind(settings.bind_host, settings.kafka_port, setting="KAFSCALE_KAFKA_PORT")
        kv = await stack.enter_async_context(
            open_sqlite_kv(settings.data_dir, history_revisions_max=settings.history_revisions)
        )
        objects = await stack.enter_async_context(
            open_configured_store(settings, rand=rand, metrics=host.metrics)
        )
        metadata = await stack.enter_async_context(
            open_metadata(
                settings,
                replica_id=ReplicaId(METADATA),
                address=METADATA,
                kv=kv,
                clock=clock,
                rand=rand,
                exclusive_store=True,
            )
        )
        network.attach(METADATA, Server(metadata.rpc_services()))
        watcher = await stack.enter_async_context(
            open_watcher(name=settings.instance, addresses=(METADATA,), connect=network.connect, rand=rand)
        )
        client = await stack.enter_async_context(open_metadata_client((METADATA,), network.connect))
        owner = await stack.enter_async_context(
            open_partition_owner(
                settings,
                owner_id=OwnerId(OWNER),
                address=OWNER,
                zone=settings.zone,
                store=objects.store,
                store_id=await ensure_store_id(objects.store, rand),
                reads=objects.reads,
                metadata=client,
                watcher=watcher,
                clock=clock,
                rand=rand,
                threads=Threads({RECORDS_POOL: 2}),
                recorder=OwnerRecorder(host.metrics),
            )
        )
        network.attach(OWNER, Server(owner.rpc_services()))
        groups = await stack.enter_async_context(
            open_groups_client(lambda: watcher.view.replicas, network.connect, rand=rand)
        )
        gateway = await stack.enter_async_context(
            open_gateway(
                settings,
                gateway_id=GatewayId(settings.instance),
                watcher=watcher,
                metadata=client,
                groups=groups,
                connect=network.connect,
                clock=clock,
                rand=rand,
                recorder=GatewayRecorder(host.metrics),
            )
        )
        show_metadata(host.metrics, metadata.statistics)
        show_owner(host.metrics, owner.statistics)
        show_gateway(host.metrics, gateway.statistics)
        show_consumer_lag(host.metrics, gateway.consumer_lag)
        yield StandaloneProcess(
            metadata=metadata,
            owner=owner,
            gateway=gateway,
            listeners=listeners,
            control=_control(owner, host),
            network=network,
            announce=partial(_announce, host, port_of(listeners)),
        )


def _control(owner: PartitionOwner, host: Host[StandaloneSettings]) -> OwnerControlRpc:
    return OwnerControlRpc(
        owner.control(),
        service=host.settings.service,
        instance=host.settings.instance,
        ready=lambda: host.readiness.ready,
        draining=lambda: host.readiness.draining,
        samples=host.metrics.samples,
        clock=host.clock,
    )


async def _announce(host: Host[StandaloneSettings], kafka_port: int) -> None:
    """The last lines of a start say what to try next, where a person reads them."""
    await host.readiness.wait_ready()
    settings = host.settings
    if not sys.stderr.isatty() and settings.log_format != "console":
        return
    kafka = f"{settings.bind_host}:{kafka_port}"
    admin = f"{settings.bind_host}:{host.admin_port}"
    sys.stderr.write(
        f"\nKafka is served on {kafka}; everything is kept in {settings.data_dir.absolute()}. Try next:\n"
        f"  kafka-console-producer --bootstrap-server {kafka} --topic orders\n"
        f"  kafka-console-consumer --bootstrap-server {kafka} --topic orders --from-beginning\n"
        f"  grpcurl -plaintext {admin} kafscale.control.BrokerControl/GetStatus\n"
        f"  curl {admin}/metrics\n"
        f"{_TLS_HINT if settings.kafka_tls_cert_file else ''}"
        "Ctrl-C drains and stops.\n"
    )
