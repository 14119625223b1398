"""Metadata replicas in one process, on any store, that can be killed.

Owns: replicas and clients over the in-memory transport. Does not own: the store.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import grpclib.client
import trio

from libs.clients.metadata import MetadataClient, Registration
from libs.clients.view import ClusterView
from libs.clients.watcher import ClusterWatcher, open_watcher
from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Owner
from libs.model.errors import NotFound, Unavailable
from libs.model.ids import OwnerId, ReplicaId, SessionId
from libs.rpc import Channel, Server, memory_channel
from services.metadata.config import MetadataOptions
from services.metadata.kv.port import KV
from services.metadata.service import Metadata, open_metadata
from services.metadata.suspicion import IsRefused

LEASE_SECONDS = 6.0
OPTIONS = MetadataOptions(lease_seconds=LEASE_SECONDS)


class MetadataReplica:
    """One replica; `kill` ends it without a word, as kill -9 does."""

    def __init__(self, name: str, service: Metadata, server: Server, scope: trio.CancelScope) -> None:
        self.name = name
        self.service = service
        self.server = server
        self.channels: set[Channel] = set()
        self._scope = scope
        self.gone = trio.Event()

    async def kill(self) -> None:
        self._scope.cancel()
        await self.gone.wait()

    async def stop(self) -> None:
        """An orderly end."""
        await self.service.drain(5.0)
        await self.kill()


class FakeOwner:
    """An owner as metadata sees it: registered, renewing, with no partitions of its own mind."""

    def __init__(self, client: MetadataClient, owner: Owner) -> None:
        self.client = client
        self.owner = owner
        self.registration: Registration | None = None
        self._scope = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self._scope:
            self.registration = await self.client.register_owner(self.owner, in_flight_max=4)
            task_status.started()
            while True:
                await trio.sleep(self.registration.lease_seconds / 3)
                try:
                    await self.client.keep_alive(self.registration.lease_id, timeout_seconds=2.0)
                except NotFound:
                    self.registration = await self.client.register_owner(self.owner, in_flight_max=4)
                except Unavailable:
                    continue

    def kill(self) -> None:
        """It renews no more."""
        self._scope.cancel()


def owner_named(name: str, session: int, *, zone: str = "") -> Owner:
    return Owner(
        owner_id=OwnerId(name), address=f"{name}:9094", zone=zone, session=SessionId(UUID(int=session))
    )


class MetadataCluster:
    """Replicas on one store, at the addresses that are their names."""

    def __init__(
        self,
        kv: KV,
        nursery: trio.Nursery,
        *,
        options: MetadataOptions = OPTIONS,
        exclusive_store: bool = False,
        is_refused: IsRefused | None = None,
    ) -> None:
        self.kv = kv
        self.replicas: dict[str, MetadataReplica] = {}
        self._options = options
        self._exclusive_store = exclusive_store
        self._is_refused = is_refused
        self._nursery = nursery

    async def start(self, name: str) -> MetadataReplica:
        """A replica that is ready."""
        replica: MetadataReplica = await self._nursery.start(self._run, name)
        self.replicas[name] = replica
        await replica.service.wait_ready()
        return replica

    async def _run(self, name: str, *, task_status: trio.TaskStatus[MetadataReplica]) -> None:
        with trio.CancelScope() as scope:
            async with open_metadata(
                self._options,
                replica_id=ReplicaId(name),
                address=name,
                kv=self.kv,
                clock=ManualClock(1_000),
                rand=SeededRand(f"{name}/{len(self.replicas)}"),
                exclusive_store=self._exclusive_store,
                is_refused=self._is_refused,
            ) as service:
                replica = MetadataReplica(name, service, Server(service.rpc_services()), scope)
                task_status.started(replica)
                try:
                    await trio.sleep_forever()
                finally:
                    del self.replicas[name]
                    for channel in list(replica.channels):
                        channel.close()
        replica.gone.set()

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[grpclib.client.Channel]:
        """The `Connect` of clients. A replica that is gone refuses, its channels break when it is killed."""
        replica = self.replicas.get(address)
        if replica is None:
            server = Server([])
            await server.drain(0)
            async with memory_channel(server) as channel:
                yield channel
            return
        async with memory_channel(replica.server) as channel:
            replica.channels.add(channel)
            try:
                yield channel
            finally:
                replica.channels.discard(channel)

    @asynccontextmanager
    async def client(self, *names: str) -> AsyncIterator[MetadataClient]:
        """A client of these replicas (all where none is named), in this order."""
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(self.connect(name)) for name in names or self.replicas
            ]
            yield MetadataClient(channels)

    async def owner(self, client: MetadataClient, name: str, session: int, *, zone: str = "") -> FakeOwner:
        """A registered owner that renews until it is killed."""
        fake = FakeOwner(client, owner_named(name, session, zone=zone))
        await self._nursery.start(fake.run)
        return fake

    @asynccontextmanager
    async def watcher(self, *names: str) -> AsyncIterator[ClusterWatcher]:
        """A watcher with its first snapshot."""
        async with open_watcher(
            name="test",
            addresses=names or tuple(self.replicas),
            connect=self.connect,
            rand=SeededRand("watcher"),
        ) as watcher:
            await watcher.wait_ready()
            yield watcher


@asynccontextmanager
async def open_metadata_cluster(
    kv: KV,
    *names: str,
    options: MetadataOptions = OPTIONS,
    exclusive_store: bool = False,
    is_refused: IsRefused | None = None,
) -> AsyncIterator[MetadataCluster]:
    """Ready replicas of these names; all end with the block."""
    async with trio.open_nursery() as nursery:
        cluster = MetadataCluster(
            kv, nursery, options=options, exclusive_store=exclusive_store, is_refused=is_refused
        )
        for name in names:
            await cluster.start(name)
        yield cluster
        nursery.cancel_scope.cancel()


async def wait_view(watcher: ClusterWatcher, condition: Callable[[ClusterView], bool]) -> ClusterView:
    """The view once the condition holds; fails after two minutes of (mock) time."""
    with trio.fail_after(120):
        await watcher.wait_until(condition)
    return watcher.view
