"""The services as simulated processes: the production `open_X`, given simulated ports.

Owns: what each kind of process is made of, its start and its orderly stop. Does not own: who decides about
kills and faults (actors/nemesis.py).
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import trio

from libs.clients.groups import open_groups_client
from libs.clients.metadata import open_metadata_client
from libs.clients.watcher import open_watcher
from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import Rand, SeededRand
from libs.concurrency.retry import Backoff, RetryPolicy
from libs.model.ids import GatewayId, OwnerId, ReplicaId, StoreId
from libs.objectstore.retrying import RetryingObjectStore
from libs.rpc import Server
from services.gateway.recorder import SilentRecorder
from services.gateway.service import GatewayService, open_gateway
from services.metadata.groups.config import GroupsConfig
from services.metadata.service import Metadata, open_metadata
from services.partition_owner.recorder import CountingRecorder
from services.partition_owner.service import PartitionOwner, open_partition_owner
from tests.sim.world.inline_threads import InlineThreads
from tests.sim.world.kv import KvPort, RecordedKV
from tests.sim.world.network import Network
from tests.sim.world.plan import EPOCH_MS, WorldPlan
from tests.sim.world.process import SimProcess
from tests.sim.world.rpc import connector, serve
from tests.sim.world.store import Bucket, StorePort
from tests.sim.world.streams import SimListener

KAFKA_PORT = 9092
DRAIN_SECONDS = 10.0
_STORE_ID = StoreId(UUID(int=1))
_STORE_RETRY = RetryPolicy(backoff=Backoff(first_seconds=0.05, max_seconds=1.0), attempts_max=4)
_GROUPS = GroupsConfig(session_timeout_ms_min=1_000, initial_rebalance_delay_ms=100, expiry_every_seconds=30)


class Ports:
    """What the world hands to every process."""

    def __init__(
        self,
        *,
        plan: WorldPlan,
        network: Network,
        bucket: Bucket,
        kv: RecordedKV,
        nursery: trio.Nursery,
        seed: str,
    ) -> None:
        self.plan = plan
        self.network = network
        self.bucket = bucket
        self.kv = kv
        self.nursery = nursery
        self._seed = seed

    def rand(self, name: str) -> Rand:
        """Chance of its own for whoever has this name."""
        return SeededRand(f"{self._seed}/{name}")


class Member:
    """One life of one service, whatever its kind."""

    def __init__(self, ports: Ports, name: str, life: int) -> None:
        self.ports = ports
        self.process = SimProcess(name, life=life)
        self.clock = LoopClock(EPOCH_MS)
        self.rand = ports.rand(f"{name}/{life}")
        self.ready = trio.Event()
        self._stop = trio.Event()

    @property
    def name(self) -> str:
        return self.process.name

    def start(self, ended: Callable[[SimProcess], None]) -> None:
        self.process.start(self.ports.nursery, self._body, ended)

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """As SIGTERM: drains, then ends."""
        self._stop.set()

    async def _body(self) -> None:
        raise NotImplementedError

    async def _live(
        self, wait_ready: Callable[[], Awaitable[None]], drain: Callable[[float], Awaitable[None]]
    ) -> None:
        """Until it is told to stop; then drains, within a bound."""
        async with trio.open_nursery() as nursery:

            async def become_ready() -> None:
                await wait_ready()
                self.ready.set()

            nursery.start_soon(become_ready)
            await self._stop.wait()
            nursery.cancel_scope.cancel()
        with trio.move_on_after(DRAIN_SECONDS):
            await drain(DRAIN_SECONDS)


class ReplicaMember(Member):
    """A metadata replica."""

    kind = "replica"

    def __init__(self, ports: Ports, name: str, life: int) -> None:
        super().__init__(ports, name, life)
        self.kv = KvPort(
            ports.kv,
            self.process,
            ports.rand(f"kv/{name}/{life}"),
            calm_seconds=ports.plan.kv_seconds,
            nursery=ports.nursery,
        )
        self.service: Metadata | None = None

    async def _body(self) -> None:
        async def is_refused(address: str) -> bool:
            await trio.lowlevel.checkpoint()
            return self.ports.network.is_refused(self.name, address)

        async with open_metadata(
            self.ports.plan.metadata,
            replica_id=ReplicaId(self.name),
            address=self.name,
            kv=self.kv,
            clock=self.clock,
            rand=self.rand,
            is_refused=is_refused,
            groups_config=_GROUPS,
        ) as service:
            self.service = service
            server = Server(service.rpc_services())
            serve(self.ports.network, self.process, server)
            await self._live(service.wait_ready, partial(_drain_both, service.drain, server))


class OwnerMember(Member):
    """A partition owner."""

    kind = "owner"

    def __init__(self, ports: Ports, name: str, life: int) -> None:
        super().__init__(ports, name, life)
        self.store = StorePort(
            ports.bucket,
            self.process,
            plan=ports.plan.calm,
            rand=ports.rand(f"store/{name}/{life}"),
            nursery=ports.nursery,
        )
        self.service: PartitionOwner | None = None

    async def _body(self) -> None:
        async with AsyncExitStack() as stack:
            connect = connector(self.ports.network, self.process, self.rand)
            replicas = _replicas(self.ports)
            watcher = await stack.enter_async_context(
                open_watcher(name=self.name, addresses=replicas, connect=connect, rand=self.rand)
            )
            metadata = await stack.enter_async_context(open_metadata_client(replicas, connect))
            service = await stack.enter_async_context(
                open_partition_owner(
                    self.ports.plan.owner,
                    owner_id=OwnerId(self.name),
                    address=self.name,
                    store=RetryingObjectStore(self.store, policy=_STORE_RETRY, rand=self.rand),
                    store_id=_STORE_ID,
                    metadata=metadata,
                    watcher=watcher,
                    clock=self.clock,
                    rand=self.rand,
                    threads=InlineThreads(),
                    recorder=CountingRecorder(),
                )
            )
            self.service = service
            server = Server(service.rpc_services())
            serve(self.ports.network, self.process, server)
            await self._live(service.wait_ready, partial(_drain_both, service.drain, server))


class GatewayMember(Member):
    """A gateway, with a listener that clients reach by its name."""

    kind = "gateway"

    def __init__(self, ports: Ports, name: str, life: int) -> None:
        super().__init__(ports, name, life)
        self.service: GatewayService | None = None

    async def _body(self) -> None:
        async with AsyncExitStack() as stack:
            connect = connector(self.ports.network, self.process, self.rand)
            replicas = _replicas(self.ports)
            watcher = await stack.enter_async_context(
                open_watcher(name=self.name, addresses=replicas, connect=connect, rand=self.rand)
            )
            metadata = await stack.enter_async_context(open_metadata_client(replicas, connect))
            groups = await stack.enter_async_context(
                open_groups_client(lambda: watcher.view.replicas, connect, rand=self.rand)
            )
            service = await stack.enter_async_context(
                open_gateway(
                    self.ports.plan.gateway.model_copy(
                        update={"advertised_host": self.name, "advertised_port": KAFKA_PORT}
                    ),
                    gateway_id=GatewayId(self.name),
                    watcher=watcher,
                    metadata=metadata,
                    groups=groups,
                    connect=connect,
                    clock=self.clock,
                    rand=self.rand,
                    recorder=SilentRecorder(),
                )
            )
            self.service = service
            listeners: Any = [SimListener(self.ports.network, self.process)]
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(service.serve_kafka, listeners)
            await self._live(service.wait_ready, lambda seconds: service.drain(trio.current_time() + seconds))
            nursery.cancel_scope.cancel()


AnyMember: TypeAlias = ReplicaMember | OwnerMember | GatewayMember


def _replicas(ports: Ports) -> tuple[str, ...]:
    return tuple(f"m{index}" for index in range(ports.plan.replicas))


async def _drain_both(drain: Callable[[float], Awaitable[None]], server: Server, seconds: float) -> None:
    await drain(seconds)
    await server.drain(trio.current_time() + 1.0)
