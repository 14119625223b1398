"""The write side of compacted data as one object: what the owner's service joins with the rest.

Owns: joining the parts, what they hold beside what they may hold. Does not own: settings' source, sessions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from libs.clients.metadata import MetadataClient
from libs.concurrency.byte_budget import ByteBudget
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.concurrency.threads import Threads
from libs.objectstore.port import ObjectStore
from services.partition_owner.cold_reads import ColdReadLimits, ColdReads
from services.partition_owner.compaction.background import Background, BackgroundLimits
from services.partition_owner.compaction.committing import Committer
from services.partition_owner.compaction.compactor import CompactionCounts, Compactor
from services.partition_owner.compaction.delete_records import RecordDeleter
from services.partition_owner.compaction.dropped import DroppedObjects
from services.partition_owner.compaction.plan import CompactionLimits
from services.partition_owner.compaction.uploads import Uploads
from services.partition_owner.config import OwnerOptions
from services.partition_owner.flusher import Flusher
from services.partition_owner.producers import ProducerStates
from services.partition_owner.registry import Registry
from services.partition_owner.tail_cache import TailCache

_DROPPED_MAX = 100_000
_CACHE_BLOCKS = 64
_POSITION_SEQS_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionStatistics:
    buffered_bytes: int
    buffered_bytes_max: int
    seconds_behind: float
    """The age of the oldest record that is not compacted."""
    segments: int
    segment_bytes: int
    uncompacted_bytes: int
    dropped_waiting: int
    puts: int
    put_bytes: int
    failures: int
    retained_bytes: int
    """What retention moved log starts past."""
    counts: CompactionCounts


class Compaction:
    """Compaction, retention and DeleteRecords of one owner."""

    def __init__(  # noqa: PLR0913 - all that it needs from outside, by name
        self,
        options: OwnerOptions,
        *,
        registry: Registry,
        store: ObjectStore,
        tail: TailCache,
        metadata: MetadataClient,
        new_producers: Callable[[], ProducerStates],
        clock: Clock,
        rand: Rand,
        threads: Threads,
        nursery: trio.Nursery,
    ) -> None:
        self._registry = registry
        self.dropped = DroppedObjects(_DROPPED_MAX)
        """For collection."""
        self._uploads = Uploads(store=store, rand=rand)
        self._budget = ByteBudget(options.compaction_buffer_bytes_max)
        committer = Committer(metadata=metadata, store=store, dropped=self.dropped, rand=rand)
        cold = ColdReads(
            store=store,
            limits=ColdReadLimits(
                block_bytes=options.cold_block_bytes,
                cache_bytes_max=_CACHE_BLOCKS * options.cold_block_bytes,
                tail_gets_max=1,
                cold_gets_max=options.compaction_gets_max,
            ),
            nursery=nursery,
        )
        self._compactor = Compactor(
            store=store,
            tail=tail,
            cold=cold,
            gets_max=options.compaction_gets_max,
            uploads=self._uploads,
            committer=committer,
            budget=self._budget,
            new_producers=new_producers,
            threads=threads,
            clock=clock,
            rand=rand,
        )
        self._background = Background(
            registry=registry,
            compactor=self._compactor,
            committer=committer,
            tail=tail,
            limits=_limits(options),
            clock=clock,
            rand=rand,
        )
        self.deleter = RecordDeleter(registry=registry, committer=committer)

    async def run(self, flusher: Flusher) -> None:
        """As long as the flusher's session lives."""
        await self._background.run(flusher)

    def statistics(self) -> CompactionStatistics:
        logs = [partition.log for partition in self._registry]
        return CompactionStatistics(
            buffered_bytes=self._budget.used_bytes,
            buffered_bytes_max=self._budget.bytes_max,
            seconds_behind=self._background.seconds_behind,
            segments=sum(len(log.segments) for log in logs),
            segment_bytes=sum(log.size_bytes - log.uncompacted_bytes for log in logs),
            uncompacted_bytes=sum(log.uncompacted_bytes for log in logs),
            dropped_waiting=len(self.dropped),
            puts=self._uploads.puts,
            put_bytes=self._uploads.put_bytes,
            failures=self._background.failures,
            retained_bytes=self._background.retained_bytes,
            counts=self._compactor.counts,
        )


def _limits(options: OwnerOptions) -> BackgroundLimits:
    return BackgroundLimits(
        compaction=CompactionLimits(
            bytes_target=options.compaction_bytes_target,
            age_seconds=options.compaction_age_seconds,
            behind_seconds=options.compaction_behind_seconds,
            segment_bytes=options.segment_bytes_max,
            merge_factor=options.compaction_merge_factor,
            position_seqs_max=_POSITION_SEQS_MAX,
        ),
        at_once_max=options.compactions_max,
        check_seconds=options.compaction_check_seconds,
        retention_check_seconds=options.retention_check_seconds,
        topic_defaults=options.topic_defaults(),
    )
