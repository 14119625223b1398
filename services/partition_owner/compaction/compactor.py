"""Rewrites what a partition's chains hold into segments, and small segments into larger ones.

Owns: the steps from ranges to a committed manifest. Does not own: when (background.py), what (plan.py), the
commit's guards (committing.py).
Rules (design section 3, rule 15): 1 only what is durable is compacted, up to the end of a range; 2 readers
keep the old list until the new one is committed, and what it dropped is handed on after that only; 3 the
bytes in memory are bounded, and reads have GETs of their own: consumers don't wait behind them; 4 bytes are
copied when they are read: a view of a small range would keep the whole object of all partitions in memory.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import trio

from libs.concurrency.byte_budget import ByteBudget
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.concurrency.threads import Threads
from libs.model.cluster import PartitionState
from libs.model.errors import Corrupt, Fenced, NotFound, Reason
from libs.model.ids import ChainSeq
from libs.model.limits import KIB
from libs.objectstore.port import ObjectStore
from libs.segments.keys import SegmentName, chain_object_key, segment_index_key, segment_key
from libs.segments.layout import CRC, NONCE_BYTES, SEGMENT_FOOTER_BYTES
from libs.segments.manifest import Manifest, SegmentRef, encode_manifest
from libs.segments.segment import EncodedSegment, parse_segment
from libs.segments.wal import ProducerRun
from libs.telemetry.spans import span
from services.partition_owner.cold_reads import ColdReads
from services.partition_owner.compaction.build import Piece, build, epochs_below, merge, segment_ref
from services.partition_owner.compaction.committing import Committer
from services.partition_owner.compaction.plan import kept_segments
from services.partition_owner.compaction.positions import needed_positions
from services.partition_owner.compaction.uploads import Uploads
from services.partition_owner.list_offsets import RECORDS_POOL
from services.partition_owner.log import LogRange
from services.partition_owner.parallel import for_each
from services.partition_owner.partition import Partition
from services.partition_owner.producers import ProducerStates
from services.partition_owner.tail_cache import TailCache

INLINE_BYTES_MAX = 256 * KIB
"""Less than that is built at once: a thread would take longer to begin than the work does."""
_PRODUCER_BYTES = 256
"""What a producer of a snapshot counts for beside records: a partition may have 100,000."""
_REF_BYTES = 32

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class CompactionCounts:
    """What was done, ever."""

    compactions: int = 0
    merges: int = 0
    compacted_bytes: int = 0
    merged_bytes: int = 0
    dropped_segments: int = 0


class Compactor:
    """`threads` has the pool RECORDS_POOL; of it compaction takes one thread at a time."""

    def __init__(  # noqa: PLR0913 - all that the steps need, by name
        self,
        *,
        store: ObjectStore,
        tail: TailCache,
        cold: ColdReads,
        gets_max: int,
        uploads: Uploads,
        committer: Committer,
        budget: ByteBudget,
        new_producers: Callable[[], ProducerStates],
        threads: Threads,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self._store = store
        self._tail = tail
        self._cold = cold
        self._gets_max = gets_max
        self._uploads = uploads
        self._committer = committer
        self._budget = budget
        self._new_producers = new_producers
        self._threads = threads
        self._clock = clock
        self._rand = rand
        self._thread = trio.Semaphore(1)
        self.counts = CompactionCounts()

    async def compact(
        self, partition: Partition, ranges: Sequence[LogRange], durable_seq: Callable[[], ChainSeq]
    ) -> None:
        """Makes a segment of the first durable ranges of the log; those below the log start are passed over.

        Without ranges only the positions that are not needed any more are forgotten.
        Raises Moved where the partition is not to be changed here any more, Unavailable, Corrupt.
        """
        if not ranges:
            await self._commit(partition, None, "", durable_seq)
            return
        size_bytes = sum(each.size_bytes for each in ranges)
        await self._budget.take(size_bytes)
        try:
            log_start = partition.log.log_start
            with span("compaction.read"):
                pieces = await self._read(partition, ranges, log_start)
            created_ms = self._clock.now_ms()
            before = () if partition.manifest is None else partition.manifest.producers
            with span("compaction.build"):
                built = await self._slowly(
                    size_bytes + len(before) * _PRODUCER_BYTES,
                    partial(
                        build,
                        pieces,
                        before=before,
                        known=partition.producers.ids(),
                        producers=self._new_producers(),
                        created_ms=created_ms,
                    ),
                )
            del pieces
            segments = kept_segments(partition.log.segments, log_start)
            if built.segment is not None:
                segments = (*segments, await self._upload(partition, built.segment))
            end_offset = ranges[-1].end_offset
            manifest = Manifest(
                tp=partition.tp,
                leader_epoch=partition.leader_epoch,
                n=_next_n(partition),
                created_ms=created_ms,
                log_start=min(log_start, end_offset),
                end_offset=end_offset,
                segments=segments,
                epochs=epochs_below(partition.log.epochs(), end_offset=end_offset, log_start=log_start),
                producers=built.producers,
            )
            await self._publish(partition, manifest, durable_seq)
        finally:
            self._budget.give_back(size_bytes)
        self.counts.compactions += 1
        self.counts.compacted_bytes += size_bytes

    async def merge(
        self, partition: Partition, merged: Sequence[SegmentRef], durable_seq: Callable[[], ChainSeq]
    ) -> None:
        """Makes one segment of adjacent ones. Raises like `compact`."""
        before = _manifest_of(partition)
        size_bytes = sum(each.size_bytes for each in merged)
        await self._budget.take(size_bytes)
        try:
            with span("compaction.read"):
                pieces = await self._read_segments(partition, merged)
            created_ms = self._clock.now_ms()
            with span("compaction.build"):
                built = await self._slowly(size_bytes, partial(merge, pieces, created_ms=created_ms))
            del pieces
            ref = await self._upload(partition, built)
            kept = kept_segments(before.segments, partition.log.log_start)
            first = kept.index(merged[0]) if merged[0] in kept else 0
            gone = set(merged)
            segments = [each for each in kept if each not in gone]
            segments.insert(first, ref)
            await self._publish(
                partition, self._rewritten(partition, before, tuple(segments), created_ms), durable_seq
            )
        finally:
            self._budget.give_back(size_bytes)
        self.counts.merges += 1
        self.counts.merged_bytes += size_bytes

    async def drop(self, partition: Partition, durable_seq: Callable[[], ChainSeq]) -> None:
        """Takes the segments below the log start out of the manifest. Raises like `compact`."""
        before = _manifest_of(partition)
        kept = kept_segments(before.segments, partition.log.log_start)
        manifest = self._rewritten(partition, before, kept, self._clock.now_ms())
        await self._publish(partition, manifest, durable_seq)
        self.counts.dropped_segments += len(before.segments) - len(kept)

    def _rewritten(
        self, partition: Partition, before: Manifest, segments: tuple[SegmentRef, ...], created_ms: int
    ) -> Manifest:
        """The same records below the same end, in other segments."""
        log_start = partition.log.log_start
        return replace(
            before,
            leader_epoch=partition.leader_epoch,
            n=_next_n(partition),
            created_ms=created_ms,
            log_start=min(log_start, before.end_offset),
            segments=segments,
            epochs=epochs_below(before.epochs, end_offset=before.end_offset, log_start=log_start),
        )

    async def _read(self, partition: Partition, ranges: Sequence[LogRange], log_start: int) -> list[Piece]:
        pieces: dict[int, Piece] = {}
        gone = bool(ranges) and ranges[0].end_offset <= log_start
        remembered = _runs_below(partition, log_start) if gone else ()

        async def read(index: int) -> None:
            found = ranges[index]
            if found.end_offset > log_start:
                pieces[index] = Piece(found=found, data=await read_bytes(found), copied=True)
                return
            try:
                data = await read_bytes(found)
            except (Corrupt, NotFound):
                data = b""
            begin = bisect_left(remembered, found.base_offset, key=_base_offset)
            end = bisect_left(remembered, found.end_offset, key=_base_offset)
            pieces[index] = Piece(found=found, data=data, copied=False, remembered=remembered[begin:end])

        async def read_bytes(found: LogRange) -> bytes:
            view = self._tail.get(
                found.session, found.seq, position=found.position, size_bytes=found.size_bytes
            )
            if view is None:
                key = chain_object_key(found.session, found.seq)
                view = await self._cold.read(key, found.position, found.size_bytes, near_tail=False)
            else:
                await trio.lowlevel.checkpoint()
            return bytes(view)

        try:
            await for_each(range(len(ranges)), read, at_once_max=self._gets_max)
        except NotFound as error:
            raise Corrupt(f"a chain object that is still needed is gone: {error.message}") from error
        return [pieces[index] for index in range(len(ranges))]

    async def _read_segments(
        self, partition: Partition, refs: Sequence[SegmentRef]
    ) -> list[tuple[SegmentRef, memoryview]]:
        found: dict[int, memoryview] = {}

        async def read(index: int) -> None:
            ref = refs[index]
            data = await self._store.get(segment_key(partition.folder, ref.name))
            _, _, found[index] = await self._slowly(ref.size_bytes, partial(parse_segment, data))

        try:
            await for_each(range(len(refs)), read, at_once_max=self._gets_max)
        except NotFound as error:
            raise Corrupt(f"a segment that the manifest names is gone: {error.message}") from error
        return [(ref, found[index]) for index, ref in enumerate(refs)]

    async def _slowly(self, size_bytes: int, call: Callable[[], T]) -> T:
        """In a thread, one at a time, where it would keep everybody waiting.

        Raises Corrupt for what is beyond a bound of a format: that is this partition's trouble alone.
        """
        try:
            if size_bytes <= INLINE_BYTES_MAX:
                await trio.lowlevel.checkpoint()
                return call()
            async with self._thread:
                return await self._threads.run(RECORDS_POOL, call, abandon_on_cancel=True)
        except ValueError as error:
            raise Corrupt(f"what is to be compacted can't be written down: {error}") from error

    async def _upload(self, partition: Partition, segment: EncodedSegment) -> SegmentRef:
        nonce = self._rand.nonce(NONCE_BYTES)
        ref = segment_ref(segment, leader_epoch=partition.leader_epoch, nonce=nonce)
        with span("compaction.upload"):
            await self._put(partition, ref.name, segment)
        return ref

    async def _put(self, partition: Partition, name: SegmentName, segment: EncodedSegment) -> None:
        """The index first: where a segment is, its index is."""
        index_tail = segment.index[-CRC.size :]
        await self._uploads.put(segment_index_key(partition.folder, name), segment.index, tail=index_tail)
        footer = bytes(segment.buffers[-1])
        assert len(footer) == SEGMENT_FOOTER_BYTES
        await self._uploads.put(segment_key(partition.folder, name), segment.buffers, tail=footer)

    async def _publish(
        self, partition: Partition, manifest: Manifest, durable_seq: Callable[[], ChainSeq]
    ) -> None:
        with span("compaction.manifest"):
            key, manifest = await self._uploads.put_manifest(partition.folder, manifest, self._encode)
        await self._commit(partition, manifest, key, durable_seq)

    async def _encode(self, manifest: Manifest) -> bytes:
        size_bytes = len(manifest.producers) * _PRODUCER_BYTES + len(manifest.segments) * _REF_BYTES
        return await self._slowly(size_bytes, partial(encode_manifest, manifest))

    async def _commit(
        self,
        partition: Partition,
        manifest: Manifest | None,
        key: str,
        durable_seq: Callable[[], ChainSeq],
    ) -> None:
        """Without a manifest the present one stays."""
        base_key = partition.manifest_key
        key = key or base_key

        def change(state: PartitionState) -> PartitionState:
            if state.manifest_key == key and manifest is not None:
                return state  # an attempt landed and was taken over
            if state.manifest_key != base_key:
                raise Fenced(
                    f"another manifest of {partition.tp} was committed: {state.manifest_key}",
                    reason=Reason.GUARD_FAILED,
                )
            end_offset = partition.log.compacted_end if manifest is None else manifest.end_offset
            return replace(
                state,
                manifest_key=key,
                positions=needed_positions(
                    partition, state.positions, end_offset=end_offset, durable_seq=durable_seq()
                ),
            )

        with span("compaction.commit"):
            await self._committer.commit(partition, change, manifest)


def _runs_below(partition: Partition, offset: int) -> tuple[ProducerRun, ...]:
    """The batches below an offset that the owner knows of, in order."""
    runs = (run for _, entry in partition.producers.items() for run in entry.runs if run.base_offset < offset)
    return tuple(sorted(runs, key=_base_offset))


def _base_offset(run: ProducerRun) -> int:
    return run.base_offset


def _manifest_of(partition: Partition) -> Manifest:
    assert partition.manifest is not None, "segments come from a manifest"
    return partition.manifest


def _next_n(partition: Partition) -> int:
    before = partition.manifest
    if before is None or before.leader_epoch != partition.leader_epoch:
        return 0
    return before.n + 1
