"""Coordinators on one store, in memory, that can be killed; and a store that fails on demand.

Owns: what tests of more than the state machine stand on.
"""

from collections.abc import AsyncIterator, Iterable, Sequence, Set
from contextlib import asynccontextmanager
from uuid import UUID

import trio

from libs.clients.groups import GroupsClient, open_groups_client
from libs.clients.rendezvous import coordinator_of
from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Replica
from libs.model.errors import Reason, Unavailable
from libs.model.ids import GroupId, ReplicaId, SessionId, TopicId
from libs.rpc import Channel, Server, memory_channel
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.service import Groups, open_groups
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Delete, KeyValue, ModRevisionIs, Put, TxnResult

CONFIG = GroupsConfig(initial_rebalance_delay_ms=0)


class FaultyKV(MemoryKV):
    """A memory store that can be away, lose replies, lose requests, and deliver a request late."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.hangs = False
        self.gets = 0
        self.lose_replies = 0
        self.lose_requests = 0
        self.delay_requests = 0
        self.late: list[tuple[tuple[ModRevisionIs, ...], tuple[Put | Delete, ...]]] = []
        self.transactions: list[tuple[Put | Delete, ...]] = []
        self.refused = 0

    async def get(self, key: str) -> KeyValue | None:
        self.gets += 1
        await self._check_up()
        return await super().get(key)

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        await self._check_up()
        if self.lose_requests:
            self.lose_requests -= 1
            raise Unavailable("no answer", outcome_unknown=True)
        if self.delay_requests:
            self.delay_requests -= 1
            self.late.append((tuple(compares), tuple(ops)))
            raise Unavailable("no answer", outcome_unknown=True)
        result = await super().txn(compares, ops)
        if result.succeeded:
            self.transactions.append(tuple(ops))
        else:
            self.refused += 1
        if self.lose_replies:
            self.lose_replies -= 1
            raise Unavailable("no answer", outcome_unknown=True)
        return result

    async def deliver_late(self) -> list[bool]:
        """What was delayed arrives now; whether each took effect."""
        late, self.late = self.late, []
        return [(await super(FaultyKV, self).txn(compares, ops)).succeeded for compares, ops in late]

    async def _check_up(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.hangs:
            await trio.sleep_forever()
        if self.is_down:
            raise Unavailable("the store is away", reason=Reason.METADATA_UNAVAILABLE)


class Cluster:
    """Made by `open_cluster`. `view` is what everybody believes to be alive, unless a replica has its own."""

    def __init__(self, kv: FaultyKV, nursery: trio.Nursery, config: GroupsConfig) -> None:
        self.kv = kv
        self.view: dict[ReplicaId, Replica] = {}
        self.deleted_topics: set[TopicId] = set()
        self.own_views: dict[ReplicaId, dict[ReplicaId, Replica]] = {}
        self.groups: dict[ReplicaId, Groups] = {}
        self.clock = ManualClock(1_700_000_000_000)
        self._config = config
        self._nursery = nursery
        self._servers: dict[str, Server] = {}
        self._channels: dict[str, list[Channel]] = {}
        self._scopes: dict[ReplicaId, trio.CancelScope] = {}
        self._lives = 0

    async def start(self, name: str) -> ReplicaId:
        replica_id = ReplicaId(name)
        self._lives += 1
        replica = Replica(
            replica_id=replica_id,
            address=f"{name}:{self._lives}",
            zone="",
            session=SessionId(UUID(int=self._lives)),
        )
        self._scopes[replica_id] = await self._nursery.start(self._run, replica)
        self.view[replica_id] = replica
        return replica_id

    def kill(self, replica_id: ReplicaId, *, noticed: bool = True) -> None:
        """As kill -9: its calls break off. `noticed`: its lease is over at once."""
        self._scopes[replica_id].cancel()
        address = self.view[replica_id].address
        del self._servers[address], self.groups[replica_id]
        for channel in self._channels.get(address, []):
            channel.close()
        if noticed:
            del self.view[replica_id]

    def coordinator(self, group: GroupId) -> ReplicaId:
        replica_id = coordinator_of(group, self.view)
        assert replica_id is not None
        return replica_id

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[Channel]:
        server = self._servers.get(address)
        if server is None:
            raise Unavailable(f"nobody listens at {address}")
        async with memory_channel(server) as channel:
            self._channels.setdefault(address, []).append(channel)
            yield channel

    async def _missing_topics(self, topics: Iterable[TopicId]) -> Set[TopicId]:
        await trio.lowlevel.checkpoint()
        return self.deleted_topics.intersection(topics)

    async def _run(
        self, replica: Replica, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
    ) -> None:
        replica_id = replica.replica_id
        with trio.CancelScope() as scope:
            async with open_groups(
                kv=self.kv,
                replica_id=replica_id,
                session=replica.session,
                replicas=lambda: self.own_views.get(replica_id, self.view),
                missing_topics=self._missing_topics,
                clock=self.clock,
                rand=SeededRand(str(replica.address)),
                config=self._config,
            ) as groups:
                self.groups[replica_id] = groups
                self._servers[replica.address] = Server(groups.rpc_services())
                task_status.started(scope)
                await trio.sleep_forever()


@asynccontextmanager
async def open_cluster(
    *names: str, config: GroupsConfig = CONFIG
) -> AsyncIterator[tuple[Cluster, GroupsClient]]:
    """Replicas of these names, and a gateway's client of them."""
    async with trio.open_nursery() as nursery:
        cluster = Cluster(FaultyKV(), nursery, config)
        for name in names or ("r1",):
            await cluster.start(name)
        async with open_groups_client(
            lambda: cluster.view, cluster.connect, rand=SeededRand("client")
        ) as client:
            yield cluster, client
        nursery.cancel_scope.cancel()
