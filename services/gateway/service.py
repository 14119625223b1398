"""The gateway as one object: what main and standalone compose.

Owns: joining the parts, start and stop. Does not own: settings' source, binding ports, the process.
"""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from libs.chassis.listeners import port_of
from libs.clients.groups import GroupsClient
from libs.clients.metadata import MetadataClient
from libs.clients.watcher import ClusterWatcher, Connect
from libs.concurrency.byte_budget import ByteBudget
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.model.cluster import Gateway as GatewayRecord
from libs.model.ids import BrokerId, GatewayId
from libs.telemetry.metrics import Labels
from services.gateway.brokers import Brokers
from services.gateway.config import GatewayOptions
from services.gateway.context import Gateway
from services.gateway.handlers.registry import HANDLERS, SERVED
from services.gateway.lag import ConsumerLag
from services.gateway.listener import KafkaListener
from services.gateway.producer_ids import ProducerIds
from services.gateway.recorder import Recorder
from services.gateway.registration import GatewayRegistration
from services.gateway.routing.appends import AppendRouter
from services.gateway.routing.fetches import FetchRouter
from services.gateway.routing.owners import OwnerLink, Owners
from services.gateway.tls import KafkaTls
from services.gateway.topics import Topics
from services.gateway.unknown_topics import UnknownTopics

_NO_BROKER_ID = BrokerId(-1)
_DEREGISTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatistics:
    """What a gateway holds, beside what it may hold."""

    connections: int
    connections_max: int
    connections_refused: int
    in_flight_bytes: int
    in_flight_bytes_max: int
    fetched_bytes: int
    fetched_bytes_max: int
    requests_waiting: int
    """Requests that wait for room."""
    appends_waiting: int
    appends_in_flight: int
    owner_links: int


class GatewayService:
    """Made by `open_gateway`."""

    def __init__(
        self,
        *,
        gateway_id: GatewayId,
        gateway: Gateway,
        budget: ByteBudget,
        listener: KafkaListener,
        rand: Rand,
    ) -> None:
        self._gateway_id = gateway_id
        self._gateway = gateway
        self._budget = budget
        self._listener = listener
        self._rand = rand
        self._registration: GatewayRegistration | None = None
        self._serving = trio.Event()

    async def serve_kafka(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        control_address: str = "",
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Registers, then serves Kafka clients until `drain` is over. Clients wait in the backlog until then.

        `control_address` (host:port) is told to the operator through the registration.
        """
        options = self._gateway.options
        host = options.advertised_host or _reachable(str(listeners[0].socket.getsockname()[0]))
        registration = GatewayRegistration(
            metadata=self._gateway.metadata,
            gateway=GatewayRecord(
                gateway_id=self._gateway_id,
                broker_id=_NO_BROKER_ID,
                host=host,
                port=options.advertised_port or port_of(listeners),
                zone=options.zone,
                control_address=control_address,
            ),
            registered=self._gateway.brokers.register,
            rand=self._rand,
        )
        self._registration = registration
        async with trio.open_nursery() as nursery:
            nursery.start_soon(registration.run)
            task_status.started()
            await self._gateway.watcher.wait_ready()
            await registration.wait_registered()
            self._serving.set()
            await self._listener.serve(listeners)
            nursery.cancel_scope.cancel()

    async def wait_ready(self) -> None:
        """Until the view is there, the gateway is registered and accepts clients."""
        await self._serving.wait()

    async def drain(self, deadline: float) -> None:
        """No new clients; what was asked is answered until `deadline` (Trio time), then all is closed."""
        if self._registration is not None:
            await self._registration.deregister(seconds_max=_DEREGISTER_SECONDS)
        await self._listener.drain(deadline)

    def consumer_lag(self) -> list[tuple[Labels, float]]:
        """Of the groups that commit through this gateway; labels group, topic, partition."""
        return self._gateway.lag.read()

    def statistics(self) -> GatewayStatistics:
        gateway, appends = self._gateway, self._gateway.appends.statistics()
        return GatewayStatistics(
            connections=self._listener.connections,
            connections_max=self._listener.connections_max,
            connections_refused=self._listener.refused,
            in_flight_bytes=self._budget.used_bytes,
            in_flight_bytes_max=self._budget.bytes_max,
            fetched_bytes=gateway.fetched.used_bytes,
            fetched_bytes_max=gateway.fetched.bytes_max,
            requests_waiting=self._budget.waiting + gateway.fetched.waiting,
            appends_waiting=appends.waiting,
            appends_in_flight=appends.in_flight,
            owner_links=len(gateway.owners.links),
        )


def _reachable(bound: str) -> str:
    """What clients can connect to: a wildcard address is none, the machine's name is a good guess."""
    return socket.gethostname() if bound in ("0.0.0.0", "::") else bound  # noqa: S104 - not bound here


def _tls(options: GatewayOptions) -> KafkaTls | None:
    if options.kafka_tls_cert_file is None or options.kafka_tls_key_file is None:
        return None
    return KafkaTls(cert_file=options.kafka_tls_cert_file, key_file=options.kafka_tls_key_file)


@asynccontextmanager
async def open_gateway(  # noqa: PLR0913 - all that a gateway needs from outside, by name
    options: GatewayOptions,
    *,
    gateway_id: GatewayId,
    watcher: ClusterWatcher,
    metadata: MetadataClient,
    groups: GroupsClient,
    connect: Connect,
    clock: Clock,
    rand: Rand,
    recorder: Recorder,
) -> AsyncIterator[GatewayService]:
    """A gateway whose background tasks run as long as the block. `serve_kafka` is the caller's to run.

    Raises Invalid where the certificate of its settings can't be used.
    """
    tls = _tls(options)
    async with trio.open_nursery() as nursery:

        def link_made(link: OwnerLink) -> None:
            nursery.start_soon(owners.run_link, link, appends)

        owners = Owners(watcher=watcher, connect=connect, rand=rand, link_made=link_made)
        appends = AppendRouter(owners=owners, watcher=watcher)
        lag = ConsumerLag(view=watcher.view, owners=owners)
        gateway = Gateway(
            options=options,
            watcher=watcher,
            metadata=metadata,
            groups=groups,
            brokers=Brokers(view=watcher.view, mode=options.advertised_mode, zone=options.zone),
            topics=Topics(watcher=watcher, metadata=metadata),
            owners=owners,
            appends=appends,
            fetches=FetchRouter(owners),
            fetched=ByteBudget(options.fetched_bytes_max),
            producer_ids=ProducerIds(metadata),
            served=SERVED,
            clock=clock,
            recorder=recorder,
            lag=lag,
            unknown_topics=UnknownTopics(),
        )
        budget = ByteBudget(options.in_flight_bytes_max)
        listener = KafkaListener(gateway=gateway, handlers=HANDLERS, budget=budget, tls=tls)
        if tls is not None:
            nursery.start_soon(tls.run)
        nursery.start_soon(appends.run)
        nursery.start_soon(lag.run)
        nursery.start_soon(owners.prune)
        yield GatewayService(
            gateway_id=gateway_id, gateway=gateway, budget=budget, listener=listener, rand=rand
        )
        nursery.cancel_scope.cancel()
