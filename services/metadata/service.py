"""One replica of the metadata service: its parts, their life and end.

Owns: joining the parts, start, drain. Does not own: the process and its settings (main), the store (handed
in).
Rules: 1 it opens only once the store has answered, and says plainly when it does not; afterwards losing the
store is no end: Watch is served from what was last heard; 2 a drain resigns first, so that nobody waits for
a lease.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff, RetryPolicy, retry
from libs.model.cluster import Replica
from libs.model.errors import KafscaleError, Unavailable
from libs.model.ids import ReplicaId, Revision, SessionId
from libs.rpc import IServable
from services.metadata.cache import Cache
from services.metadata.cluster_info import ensure_cluster
from services.metadata.config import MetadataOptions
from services.metadata.controller import Controller
from services.metadata.drain import Drains
from services.metadata.grace import Grace
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.service import Groups, GroupsStatistics, open_groups
from services.metadata.housekeeping import Housekeeping
from services.metadata.kv.port import KV
from services.metadata.partitions import Partitions
from services.metadata.producer_ids import ProducerIds
from services.metadata.references import ReferenceReader
from services.metadata.registrations import Registrations
from services.metadata.replica import ReplicaLease
from services.metadata.rpc import MetadataHandlers
from services.metadata.rpc_watch import WatchStatistics
from services.metadata.snapshot import snapshot
from services.metadata.suspicion import IsRefused, Suspicion
from services.metadata.topics import Topics

STORE_SECONDS_MAX = 20.0
"""How long a start waits for the store's first answer."""
RESIGN_SECONDS_MAX = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataStatistics:
    revision: Revision
    store_connected: bool
    controller: bool
    topics: int
    partitions: int
    owners: int
    gateways: int
    replicas: int
    watch: WatchStatistics
    groups: GroupsStatistics


class Metadata:
    """A running replica."""

    def __init__(
        self,
        *,
        cluster_id: str,
        cache: Cache,
        lease: ReplicaLease,
        controller: Controller,
        groups: Groups,
        handlers: MetadataHandlers,
    ) -> None:
        self.cluster_id = cluster_id
        self._cache = cache
        self._lease = lease
        self._controller = controller
        self._groups = groups
        self._handlers = handlers

    def rpc_services(self) -> Sequence[IServable]:
        """For the internal port: Metadata and Groups."""
        return (self._handlers, *self._groups.rpc_services())

    async def wait_ready(self) -> None:
        """Returns once the store was read whole and this replica is registered."""
        await self._cache.wait_loaded()
        await self._lease.wait_registered()

    async def drain(self, deadline_seconds: float) -> None:
        """Resigns and deregisters, gives groups up, then ends every watch: callers go to another replica."""
        with trio.move_on_after(min(RESIGN_SECONDS_MAX, deadline_seconds)):
            try:
                await self._lease.resign()
            except KafscaleError as error:
                log.warning("replica_not_deregistered", reason=error.reason.value, error=error.message)
        await self._groups.drain(max(0.0, deadline_seconds - RESIGN_SECONDS_MAX))
        self._cache.feed.close()

    def statistics(self) -> MetadataStatistics:
        state = self._cache.state
        return MetadataStatistics(
            revision=state.revision,
            store_connected=self._cache.connected,
            controller=self._controller.elected,
            topics=len(state.topics),
            partitions=sum(len(of_topic) for of_topic in state.assignments.values()),
            owners=len(state.owners),
            gateways=len(state.gateways),
            replicas=len(state.replicas),
            watch=self._cache.feed.statistics(),
            groups=self._groups.statistics(),
        )


@asynccontextmanager
async def open_metadata(  # noqa: PLR0913 - all that a replica needs from outside, by name
    options: MetadataOptions,
    *,
    replica_id: ReplicaId,
    address: str,
    zone: str = "",
    kv: KV,
    clock: Clock,
    rand: Rand,
    exclusive_store: bool = False,
    is_refused: IsRefused | None = None,
    groups_config: GroupsConfig | None = None,
) -> AsyncIterator[Metadata]:
    """A replica that runs as long as the block. `address`: host:port at which others reach its RPC.

    `exclusive_store`: no owner can be alive that registered before this process began (standalone's lock on
    its data directory proves it), so nothing waits for a lease.
    `is_refused`: how to ask an owner's address whether it died; None where addresses are none of the network.
    Raises Unavailable where the store does not answer within STORE_SECONDS_MAX, Invalid where it refuses.
    """
    cluster_id = await _first_answer(kv, rand)
    cache = Cache(kv, rand=rand)
    replica = Replica(replica_id=replica_id, address=address, zone=zone, session=SessionId(rand.uuid()))
    lease = ReplicaLease(kv, replica, lease_seconds=options.lease_seconds, rand=rand)
    controller = Controller(
        kv,
        cache,
        lease,
        rand=rand,
        grace=Grace(lease_seconds=options.lease_seconds, exclusive_store=exclusive_store),
        moves_max=options.moves_in_flight_max,
    )
    housekeeping = Housekeeping(kv, cache, history_revisions=options.history_revisions)
    suspicion = Suspicion(kv, cache, is_refused=is_refused or _nobody_is_refused)
    topics = Topics(kv=kv, cache=cache, clock=clock, rand=rand, partitions_default=options.default_partitions)
    handlers = MetadataHandlers(
        cache=cache,
        topics=topics,
        registrations=Registrations(kv, lease_seconds=options.lease_seconds),
        partitions=Partitions(kv, cache),
        drains=Drains(kv, cache),
        producer_ids=ProducerIds(kv),
        references=ReferenceReader(kv),
        snapshot=partial(snapshot, kv),
        watch_ended=suspicion.watch_broke,
    )
    async with (
        trio.open_nursery() as nursery,
        open_groups(
            kv=kv,
            replica_id=replica_id,
            session=replica.session,
            replicas=lambda: {each: stored.value for each, stored in cache.state.replicas.items()},
            missing_topics=topics.missing,
            clock=clock,
            rand=rand,
            config=groups_config,
        ) as groups,
    ):
        nursery.start_soon(cache.run)
        nursery.start_soon(lease.run)
        nursery.start_soon(controller.run)
        nursery.start_soon(housekeeping.run, controller.guard)
        nursery.start_soon(suspicion.run)
        yield Metadata(
            cluster_id=cluster_id,
            cache=cache,
            lease=lease,
            controller=controller,
            groups=groups,
            handlers=handlers,
        )
        nursery.cancel_scope.cancel()


async def _nobody_is_refused(_address: str) -> bool:
    return False


async def _first_answer(kv: KV, rand: Rand) -> str:
    policy = RetryPolicy(
        backoff=Backoff(first_seconds=0.1, max_seconds=1.0),
        attempts_max=1000,
        elapsed_seconds_max=STORE_SECONDS_MAX,
    )
    with trio.move_on_after(STORE_SECONDS_MAX):
        return await retry(
            lambda: ensure_cluster(kv, rand),
            policy=policy,
            rand=rand,
            when=lambda error: isinstance(error, Unavailable),
            on_retry=lambda error, failures: log.warning(
                "store_not_reached", failures=failures, error=error.message
            ),
        )
    raise Unavailable(f"the metadata store did not answer within {STORE_SECONDS_MAX:.0f} seconds")
