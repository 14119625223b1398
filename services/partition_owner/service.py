"""The partition owner as one object: what main and standalone compose.

Owns: joining the parts, start and end. Does not own: settings' source, ports, the process, the store's
opening.
Rules: 1 a drain hands over to others; where nobody can take over it makes everything durable and seals its
own chain, so that the next owner waits for nothing; 2 the store was probed before it is handed in.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import trio

from libs.clients.metadata import MetadataClient
from libs.clients.watcher import ClusterWatcher
from libs.concurrency.byte_budget import ByteBudget
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.concurrency.threads import Threads
from libs.model.cluster import Owner
from libs.model.errors import Invalid, KafscaleError, Unavailable
from libs.model.ids import OwnerId, SessionId, StoreId
from libs.objectstore.port import ObjectReader, ObjectStore
from libs.rpc import IServable
from services.partition_owner.archive import Archive, ArchiveLimits, ArchiveStatistics
from services.partition_owner.assignments import Assignments
from services.partition_owner.cold_reads import ColdReadLimits, ColdReads, ColdReadStatistics
from services.partition_owner.collection.collector import CollectionStatistics
from services.partition_owner.collection.openings import Openings
from services.partition_owner.collection.service import Collection
from services.partition_owner.compaction.service import Compaction, CompactionStatistics
from services.partition_owner.config import OwnerOptions
from services.partition_owner.control import OwnerControl
from services.partition_owner.fetching import Fetcher
from services.partition_owner.flush_policy import FlushLimits, FlushPolicy, PutBudget
from services.partition_owner.flusher import Flusher, FlusherStatistics
from services.partition_owner.footers import FooterReader
from services.partition_owner.handover import HandOver
from services.partition_owner.list_offsets import OffsetFinder
from services.partition_owner.opening import Opener
from services.partition_owner.producers import ProducerStates
from services.partition_owner.reader import Reader
from services.partition_owner.recorder import Recorder
from services.partition_owner.registry import Registry
from services.partition_owner.rpc import PartitionOwnerRpc
from services.partition_owner.sealing import Sealer
from services.partition_owner.segment_reads import (
    SegmentReadLimits,
    SegmentReads,
    SegmentReadStatistics,
)
from services.partition_owner.session import SessionKeeper, SessionLimits
from services.partition_owner.tail_cache import TailCache
from services.partition_owner.topic_objects import TopicObjects

CLOSE_SECONDS_SHARE = 0.4
"""Of a drain's time: kept for flushing and sealing, when the hand-over takes too long."""
ARCHIVE_SECONDS_SHARE = 0.1
"""Of a drain's time: what a last snapshot of the metadata store may take, so that a clean stop loses none."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerStatistics:
    """What an owner holds, beside what it may hold."""

    session: SessionId | None
    sessions_begun: int
    partitions: int
    unflushed_bytes: int
    unflushed_bytes_max: int
    appends_blocked: int
    """Streams that are not read because the bound is full."""
    tail_bytes: int
    tail_bytes_max: int
    tail_hits: int
    tail_misses: int
    reply_bytes: int
    reply_bytes_max: int
    cold: ColdReadStatistics
    segment_indexes: SegmentReadStatistics
    flusher: FlusherStatistics | None
    archive: ArchiveStatistics
    compaction: CompactionStatistics
    collection: CollectionStatistics


class PartitionOwner:
    """Made by `open_partition_owner`."""

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        keeper: SessionKeeper,
        registry: Registry,
        watcher: ClusterWatcher,
        handlers: PartitionOwnerRpc,
        control: OwnerControl,
        reader: Reader,
        archive: Archive,
        compaction: Compaction,
        collection: Collection,
        unflushed: ByteBudget,
        replies: ByteBudget,
    ) -> None:
        self._keeper = keeper
        self._registry = registry
        self._watcher = watcher
        self._handlers = handlers
        self._unflushed = unflushed
        self._replies = replies
        self._reader = reader
        self._archive = archive
        self._compaction = compaction
        self._collection = collection
        self._control = control

    def rpc_services(self) -> Sequence[IServable]:
        """For the internal port: PartitionOwner."""
        return (self._handlers,)

    def control(self) -> OwnerControl:
        """The owner's part of BrokerControl."""
        return self._control

    async def wait_ready(self) -> None:
        """Until it is registered and sees the cluster: from then on it can take partitions."""
        await self._keeper.wait_registered()
        await self._watcher.wait_ready()

    async def drain(self, deadline_seconds: float) -> None:
        """Hands all partitions over, then seals the own chain and deregisters; bounded by the deadline."""
        hand_over_seconds = deadline_seconds * (1 - CLOSE_SECONDS_SHARE)
        with trio.move_on_after(deadline_seconds):
            with trio.move_on_after(hand_over_seconds):
                try:
                    result = await self._control.drain(
                        (), all_assigned=True, reason="shutdown", deadline_seconds=hand_over_seconds
                    )
                    log.info("owner_drained", drained=len(result.drained), pending=len(result.pending))
                except (Invalid, Unavailable) as error:
                    log.info("owner_not_drained", reason=error.reason.value, error=error.message)
                except KafscaleError as error:
                    log.warning("owner_not_drained", reason=error.reason.value, error=error.message)
            with trio.move_on_after(deadline_seconds * ARCHIVE_SECONDS_SHARE):
                await self._archive.round()
            await self._keeper.close()

    def statistics(self) -> OwnerStatistics:
        flusher, tail = self._registry.flusher, self._reader.tail
        return OwnerStatistics(
            session=self._keeper.session,
            sessions_begun=self._keeper.sessions_begun,
            partitions=len(self._registry),
            unflushed_bytes=self._unflushed.used_bytes,
            unflushed_bytes_max=self._unflushed.bytes_max,
            appends_blocked=self._unflushed.waiting,
            tail_bytes=tail.used_bytes,
            tail_bytes_max=tail.bytes_max,
            tail_hits=tail.hits,
            tail_misses=tail.misses,
            reply_bytes=self._replies.used_bytes,
            reply_bytes_max=self._replies.bytes_max,
            cold=self._reader.cold.statistics(),
            segment_indexes=self._reader.segments.statistics(),
            flusher=None if flusher is None else flusher.statistics(),
            archive=self._archive.statistics(),
            compaction=self._compaction.statistics(),
            collection=self._collection.statistics(),
        )


@asynccontextmanager
async def open_partition_owner(  # noqa: PLR0913 - all that an owner needs from outside, by name
    options: OwnerOptions,
    *,
    owner_id: OwnerId,
    address: str,
    zone: str = "",
    control_address: str = "",
    store: ObjectStore,
    store_id: StoreId,
    reads: ObjectReader | None = None,
    metadata: MetadataClient,
    watcher: ClusterWatcher,
    clock: Clock,
    rand: Rand,
    threads: Threads,
    recorder: Recorder,
) -> AsyncIterator[PartitionOwner]:
    """An owner that runs as long as the block.

    `address`: host:port at which gateways reach its RPC. `store` was probed, and says that it is
    `store_id` (store_id.py). `reads` gives consumers,
    and nobody else, the same objects (ADR 0014); None: `store` does. `threads` has the pool
    list_offsets.RECORDS_POOL.
    """
    registry = Registry()
    tail = TailCache(options.tail_cache_bytes_max)
    unflushed = ByteBudget(options.unflushed_bytes_max)
    replies = ByteBudget(options.fetch_reply_bytes_max)
    put_budget = PutBudget(per_second=options.flush_puts_per_second, burst=options.flush_puts_burst)
    flush_limits = FlushLimits(
        linger_seconds=options.flush_linger_ms / 1000,
        alone_seconds=options.flush_alone_ms / 1000,
        age_seconds_max=options.flush_age_ms_max / 1000,
        object_bytes_target=options.object_bytes_target,
        in_flight_max=options.flush_in_flight_max,
    )
    async with trio.open_nursery() as nursery:
        stored = store if reads is None else reads
        cold = ColdReads(store=stored, limits=_cold_limits(options), nursery=nursery)
        reader = Reader(
            store=store,
            tail=tail,
            cold=cold,
            segments=SegmentReads(
                store=stored,
                cold=cold,
                limits=SegmentReadLimits(
                    index_cache_bytes_max=options.segment_index_cache_bytes_max,
                    tail_gets_max=options.tail_gets_max,
                    cold_gets_max=options.cold_gets_max,
                    read_ahead_bytes=options.read_ahead_bytes,
                ),
                nursery=nursery,
            ),
            near_tail_bytes=options.object_bytes_target,
            read_ahead_bytes=options.read_ahead_bytes,
        )
        footers = FooterReader(
            store=store,
            cache_bytes_max=options.footer_cache_bytes_max,
            gets_max=options.opening_gets_max,
            nursery=nursery,
        )
        sealer = Sealer(
            store=store,
            metadata=metadata,
            owner_id=owner_id,
            clock=clock,
            rand=rand,
            nursery=nursery,
            on_footer=footers.remember,
        )

        topics = TopicObjects(store=store, clock=clock, nursery=nursery)
        archive = Archive(
            owner_id=owner_id,
            store=store,
            metadata=metadata,
            view=watcher.view,
            topics=topics,
            limits=ArchiveLimits(
                every_seconds=options.snapshot_seconds,
                recent_max=options.snapshots_kept,
                days_max=options.snapshot_days,
            ),
            clock=clock,
        )

        def new_producers() -> ProducerStates:
            return ProducerStates(
                expiration_seconds=options.producer_expiration_ms / 1000,
                count_max=options.producers_per_partition_max,
            )

        compaction = Compaction(
            options,
            registry=registry,
            store=store,
            tail=tail,
            metadata=metadata,
            new_producers=new_producers,
            clock=clock,
            rand=rand,
            threads=threads,
            nursery=nursery,
        )

        def new_flusher(session: SessionId) -> Flusher:
            return Flusher(
                session=session,
                owner_id=owner_id,
                store=store,
                policy=FlushPolicy(flush_limits, put_budget),
                tail=tail,
                clock=clock,
                rand=rand,
                recorder=recorder,
            )

        def new_assignments(flusher: Flusher) -> Assignments:
            openings = Openings(lambda: flusher.next_seq)
            opener = Opener(
                flusher=flusher,
                store=store,
                metadata=metadata,
                view=watcher.view,
                sealer=sealer,
                footers=footers,
                new_producers=new_producers,
                topics=topics,
                openings=openings,
                rand=rand,
            )
            hand_over = HandOver(
                flusher=flusher,
                metadata=metadata,
                registry=registry,
                rand=rand,
                at_once_max=options.releases_max,
            )
            return Assignments(
                owner_id=owner_id,
                session=flusher.session,
                watcher=watcher,
                registry=registry,
                opener=opener,
                hand_over=hand_over,
                opening_at_once_max=options.openings_max,
                openings=openings,
            )

        keeper = SessionKeeper(
            owner=lambda session: Owner(
                owner_id=owner_id,
                address=address,
                zone=zone,
                session=session,
                control_address=control_address,
            ),
            store_id=store_id,
            metadata=metadata,
            watcher=watcher,
            registry=registry,
            new_flusher=new_flusher,
            new_assignments=new_assignments,
            background=(compaction.run,),
            limits=SessionLimits(
                in_flight_max=options.flush_in_flight_max, stalled_seconds=options.put_stalled_seconds
            ),
            rand=rand,
        )
        collection = Collection(
            options,
            owner_id=owner_id,
            session=lambda: keeper.session,
            openings=lambda: None if keeper.assignments is None else keeper.assignments.openings,
            registry=registry,
            dropped=compaction.dropped,
            store=store,
            metadata=metadata,
            watcher=watcher,
            sealer=sealer,
            clock=clock,
            rand=rand,
        )
        handlers = PartitionOwnerRpc(
            registry=registry,
            budget=unflushed,
            fetcher=Fetcher(registry=registry, reader=reader, reply_budget=replies, recorder=recorder),
            offsets=OffsetFinder(registry=registry, reader=reader, threads=threads),
            deleter=compaction.deleter,
            clock=clock,
            recorder=recorder,
        )
        nursery.start_soon(keeper.run)
        nursery.start_soon(archive.run)
        nursery.start_soon(collection.run)
        yield PartitionOwner(
            keeper=keeper,
            registry=registry,
            watcher=watcher,
            handlers=handlers,
            control=OwnerControl(
                owner_id=owner_id,
                keeper=keeper,
                registry=registry,
                metadata=metadata,
                watcher=watcher,
                unflushed=unflushed,
            ),
            reader=reader,
            archive=archive,
            compaction=compaction,
            collection=collection,
            unflushed=unflushed,
            replies=replies,
        )
        nursery.cancel_scope.cancel()


def _cold_limits(options: OwnerOptions) -> ColdReadLimits:
    return ColdReadLimits(
        block_bytes=options.cold_block_bytes,
        cache_bytes_max=options.cold_cache_bytes_max,
        tail_gets_max=options.tail_gets_max,
        cold_gets_max=options.cold_gets_max,
    )
