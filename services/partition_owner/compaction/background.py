"""Keeps the partitions of one session compacted, and their logs within their retention.

Owns: whose turn it is, a few partitions at a time, patience after failures. Does not own: the work itself.
Rules: 1 a look at a partition costs no call to anybody: what is quiet stays silent; 2 partitions are spread
by a jitter of their own, so that not all of an owner's are due at once; 3 work ends at once when its
partition is not open any more: a hand-over never waits for it; 4 trouble of one partition is no trouble of
another.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
import trio

from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.cluster import PartitionState, Topic
from libs.model.errors import Corrupt, KafscaleError, Moved
from libs.model.ids import ChainSeq, Offset, TopicPartition
from libs.segments.manifest import SegmentRef
from services.partition_owner.access import FENCE_SECONDS_MAX, fence
from services.partition_owner.compaction.committing import Committer
from services.partition_owner.compaction.compactor import Compactor
from services.partition_owner.compaction.plan import (
    CompactionFacts,
    CompactionLimits,
    due_at,
    kept_segments,
    next_merge,
    next_ranges,
)
from services.partition_owner.compaction.policy import TopicPolicy, topic_policy
from services.partition_owner.compaction.retention import retained_from
from services.partition_owner.flusher import Flusher
from services.partition_owner.partition import Partition
from services.partition_owner.registry import Registry
from services.partition_owner.tail_cache import TailCache

_BACKOFF = Backoff(first_seconds=1.0, max_seconds=60.0)
_LOOKS_AT_ONCE = 500
"""Partitions looked at before others get their turn."""
_CORRUPT_BACKOFF = Backoff(first_seconds=60.0, max_seconds=3600.0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundLimits:
    compaction: CompactionLimits
    at_once_max: int
    check_seconds: float
    retention_check_seconds: float
    topic_defaults: Mapping[str, str]
    """Configs of topics that do not set their own."""


@dataclass(slots=True, eq=False)
class _Care:
    """What is remembered of one open partition."""

    partition: Partition
    jitter: float
    touched_at: float
    """When it was opened or last worked on."""
    retention_at: float
    """When its retention is to be looked at."""
    not_before: float = 0.0
    failures: int = 0
    busy: bool = False
    uncompacted_since: float | None = None
    tail_mark: int = 0
    """Bytes put into the tail cache when the first uncompacted range was noticed."""
    merged_version: int = -1
    """The log's version at which nothing was to be merged."""
    merged_topic: Topic | None = None
    """And the topic as it was then: its segment.bytes counts."""


class Background:
    """`run` it as long as the session lives."""

    def __init__(
        self,
        *,
        registry: Registry,
        compactor: Compactor,
        committer: Committer,
        tail: TailCache,
        limits: BackgroundLimits,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self._registry = registry
        self._compactor = compactor
        self._committer = committer
        self._tail = tail
        self._limits = limits
        self._clock = clock
        self._rand = rand
        self._cares: dict[TopicPartition, _Care] = {}
        self._found: deque[_Care] = deque()
        self._looking = trio.Lock()  # one worker looks and waits, the others wait for it
        self.retained_bytes = 0
        """Bytes below log starts that retention moved, ever."""
        self.failures = 0

    @property
    def seconds_behind(self) -> float:
        """The age of the oldest record that is not compacted."""
        since = [each.uncompacted_since for each in self._registry if each.uncompacted_since is not None]
        return trio.current_time() - min(since) if since else 0.0

    async def run(self, flusher: Flusher) -> None:
        """Works until cancelled."""
        self._cares.clear()
        self._found.clear()

        def durable_seq() -> ChainSeq:
            return flusher.durable_seq

        async with trio.open_nursery() as nursery:
            for _ in range(self._limits.at_once_max):
                nursery.start_soon(self._work, durable_seq)

    async def _work(self, durable_seq: Callable[[], ChainSeq]) -> None:
        while True:
            care = await self._wait_next(durable_seq)
            try:
                await self._attend(care, durable_seq)
            finally:
                care.busy = False

    async def _wait_next(self, durable_seq: Callable[[], ChainSeq]) -> _Care:
        """The partition that is due for the longest time, and is busy from now on."""
        async with self._looking:
            while True:
                while self._found:
                    care = self._found.popleft()
                    if self._due_since(care, trio.current_time(), durable_seq) is not None:
                        care.busy = True
                        return care
                self._found = await self._look(durable_seq)
                if not self._found:
                    await trio.sleep(self._limits.check_seconds)

    async def _look(self, durable_seq: Callable[[], ChainSeq]) -> deque[_Care]:
        """All that are due, the longest first: one look at every partition is for all of them."""
        self._look_around()
        now = trio.current_time()
        found: list[tuple[float, _Care]] = []
        for number, care in enumerate(list(self._cares.values())):
            if number % _LOOKS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            due = self._due_since(care, now, durable_seq)
            if due is not None:
                found.append((due, care))
        found.sort(key=lambda each: each[0])
        return deque(care for _, care in found)

    def _due_since(self, care: _Care, now: float, durable_seq: Callable[[], ChainSeq]) -> float | None:
        """None where there is nothing to be done now, or somebody does it."""
        if care.busy or care.not_before > now or not care.partition.appendable:
            return None
        due = self._due_at(care, durable_seq)
        return due if due <= now else None

    def _look_around(self) -> None:
        now = trio.current_time()
        for tp in [tp for tp, care in self._cares.items() if not care.partition.appendable]:
            del self._cares[tp]
        for partition in self._registry:
            if partition.appendable and partition.tp not in self._cares:
                jitter = self._rand.random()
                self._cares[partition.tp] = _Care(
                    partition, jitter, now, now + jitter * self._limits.retention_check_seconds
                )

    def _due_at(self, care: _Care, durable_seq: Callable[[], ChainSeq]) -> float:
        partition = care.partition
        if _has_segments_to_drop(partition) or self._next_merge(care):
            return care.touched_at
        due = due_at(self._facts(care, durable_seq()), self._limits.compaction, jitter=care.jitter)
        due = care.retention_at if due is None else min(due, care.retention_at)
        return max(due, care.touched_at)  # who is far behind goes on after everybody else had a turn

    def _next_merge(self, care: _Care) -> Sequence[SegmentRef]:
        """Looked for once a list and topic: nothing else changes what is to be merged."""
        plog, topic = care.partition.log, care.partition.topic
        if care.merged_version == plog.version and care.merged_topic is topic:
            return ()
        merged = next_merge(kept_segments(plog.segments, plog.log_start), self._limits_of(care.partition))
        if not merged:
            care.merged_version, care.merged_topic = plog.version, topic
        return merged

    def _facts(self, care: _Care, durable_seq: ChainSeq) -> CompactionFacts:
        partition = care.partition
        plog = partition.log
        state = None if partition.record is None else partition.record.state
        positions = () if state is None else state.positions
        if care.uncompacted_since != partition.uncompacted_since:
            care.uncompacted_since, care.tail_mark = partition.uncompacted_since, self._tail.put_bytes
        empty = plog.assigned == plog.compacted_end
        end_known = partition.manifest is not None or plog.assigned == 0
        return CompactionFacts(
            uncompacted_bytes=plog.uncompacted_bytes,
            uncompacted_since=partition.uncompacted_since if plog.durable_ranges else None,
            ranges=plog.durable_ranges,
            tail_share=(self._tail.put_bytes - care.tail_mark) / self._tail.bytes_max,
            behind=len(positions) > 1 and (end_known or not empty),
            idle_seqs=durable_seq - positions[-1].from_seq if positions and empty and end_known else 0,
            touched_at=care.touched_at,
        )

    async def _attend(self, care: _Care, durable_seq: Callable[[], ChainSeq]) -> None:
        """One step for a partition; what is still to do makes it due again."""
        partition = care.partition
        scope = trio.CancelScope()
        partition.background.add(scope)
        try:
            with scope:
                await self._step(care, durable_seq)
            care.failures, care.not_before = 0, 0.0
        except Moved as error:
            log.info("compaction_ended", tp=str(partition.tp), reason=error.message)
            self._fail(care, _BACKOFF)
        except Corrupt as error:
            self._fail(care, _CORRUPT_BACKOFF)
            await self._tell_corrupt(partition, error)
        except KafscaleError as error:
            log.warning("compaction_failed", tp=str(partition.tp), error=error.message)
            self._fail(care, _BACKOFF)
        finally:
            partition.background.discard(scope)
            care.touched_at = trio.current_time()

    async def _tell_corrupt(self, partition: Partition, error: Corrupt) -> None:
        """What is gone may be gone because others have the partition by now (design section 3, rule 16), or
        because its topic was deleted and nobody told us yet: only who proves that it is still the one to say
        raises an alarm.
        """
        try:
            await fence(self._registry, seconds_max=FENCE_SECONDS_MAX)
            await self._committer.wait_held(partition)
        except Moved:
            log.info("compaction_ended", tp=str(partition.tp), reason=error.message)
            return
        except KafscaleError as unknown:
            log.warning("alarm_not_checked", tp=str(partition.tp), error=unknown.message)
        if partition.appendable:
            log.error("compaction_corrupt", tp=str(partition.tp), error=error.message)

    def _fail(self, care: _Care, backoff: Backoff) -> None:
        self.failures += 1
        care.failures += 1
        care.not_before = trio.current_time() + backoff.delay_seconds(care.failures, self._rand)

    async def _step(self, care: _Care, durable_seq: Callable[[], ChainSeq]) -> None:
        partition, limits = care.partition, self._limits.compaction
        now = trio.current_time()
        if care.retention_at <= now:
            care.retention_at = now + self._limits.retention_check_seconds
            await self._retain(partition)
            return
        if _has_segments_to_drop(partition):
            await self._compactor.drop(partition, durable_seq)
            return
        due = due_at(self._facts(care, durable_seq()), limits, jitter=care.jitter)
        if due is not None and due <= now:
            await self._compact(partition, durable_seq)
            return
        merged = self._next_merge(care)
        if merged:
            await self._compactor.merge(partition, merged, durable_seq)

    async def _compact(self, partition: Partition, durable_seq: Callable[[], ChainSeq]) -> None:
        plog, since = partition.log, partition.uncompacted_since
        ranges = next_ranges(plog.ranges(), bytes_max=self._limits_of(partition).segment_bytes)
        left_over = bool(ranges) and ranges[-1].end_offset < plog.durable
        await self._compactor.compact(partition, ranges, durable_seq)
        if left_over:  # they are as old as what was compacted, and just as due
            partition.uncompacted_since = since

    def _limits_of(self, partition: Partition) -> CompactionLimits:
        limits = self._limits.compaction
        segment_bytes = self._policy_of(partition).segment_bytes
        if segment_bytes is None or segment_bytes >= limits.segment_bytes:
            return limits
        return replace(limits, segment_bytes=segment_bytes)

    def _policy_of(self, partition: Partition) -> TopicPolicy:
        return topic_policy({**self._limits.topic_defaults, **partition.topic.configs})

    async def _retain(self, partition: Partition) -> None:
        plog = partition.log
        start = retained_from(plog, self._policy_of(partition), now_ms=self._clock.now_ms())
        if start <= plog.log_start:
            return
        gone_bytes = plog.readable_bytes(plog.log_start) - plog.readable_bytes(start)
        await self._committer.commit(partition, log_start_at(start))
        self.retained_bytes += gone_bytes
        log.info("retention_moved", tp=str(partition.tp), log_start=start, gone_bytes=gone_bytes)


def _has_segments_to_drop(partition: Partition) -> bool:
    segments = partition.log.segments
    return bool(segments) and segments[0].last_offset < partition.log.log_start


def log_start_at(offset: int) -> Callable[[PartitionState], PartitionState]:
    """The change that moves a log start up to `offset`, unless it is there already."""

    def change(state: PartitionState) -> PartitionState:
        if state.log_start_offset >= offset:
            return state
        return replace(state, log_start_offset=Offset(offset))

    return change
