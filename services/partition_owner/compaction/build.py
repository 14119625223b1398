"""Makes segments, producer snapshots and manifests of batches that were read back. Pure, and slow: in a
thread.

Owns: that what is rewritten is what was appended, and what a manifest says about it. Does not own: reading,
writing, which ranges.
Rules: 1 every batch is checked before it is copied, and ranges follow each other without a gap: damage is
never compacted away (Corrupt); 2 the snapshot is made of the one before and the batches below the new end,
not of what the owner has in memory: that knows of batches which may never become durable (design section 3,
rule 15). Only where records below the log start are damaged, which nobody can read any more, memory
has to do: else one damaged object would keep the owner's whole chain, and DeleteRecords would be no way out.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from libs.model.errors import Corrupt
from libs.model.ids import LeaderEpoch, Offset
from libs.model.limits import PRODUCER_BATCHES_KEPT
from libs.records import BatchView, verify_stored
from libs.segments.keys import SegmentName
from libs.segments.manifest import EpochStart, ProducerSnapshot, SegmentRef
from libs.segments.segment import EncodedSegment, SegmentBatch, encode_segment
from libs.segments.wal import ProducerRun
from services.partition_owner.log import LogRange
from services.partition_owner.producers import ProducerEntry, ProducerStates


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A range and its bytes. Not `copied`: it is below the log start, and only its producers count.

    `remembered`: what the owner knows of those in memory, for the case that the bytes are damaged.
    """

    found: LogRange
    data: bytes
    copied: bool
    remembered: tuple[ProducerRun, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """`segment` is None where nothing is copied."""

    segment: EncodedSegment | None
    producers: tuple[ProducerSnapshot, ...]


def build(
    pieces: Sequence[Piece],
    *,
    before: Sequence[ProducerSnapshot],
    known: Container[int],
    producers: ProducerStates,
    created_ms: int,
) -> Built:
    """The segment of these ranges, and the snapshot at their end: of the producers that are `known` still.

    `producers`: empty.

    Raises Corrupt.
    """
    for each in sorted(before, key=_last_timestamp):
        entry = ProducerEntry(each.producer_epoch, each.runs, each.last_timestamp_ms)
        producers.put_back(each.producer_id, entry)
    copied: list[SegmentBatch] = []
    for piece in pieces:
        try:
            batches = _batches(piece)
        except Corrupt:
            if piece.copied:
                raise
            producers.restore(piece.remembered, now=created_ms)
            continue
        producers.restore(map(_run, _last_of_each_producer(batches)), now=created_ms)
        if piece.copied:
            copied += map(_segment_batch, batches)
    producers.keep(known)
    return Built(
        segment=encode_segment(copied, created_ms=created_ms) if copied else None,
        producers=_snapshot(producers),
    )


def merge(pieces: Sequence[tuple[SegmentRef, memoryview]], *, created_ms: int) -> EncodedSegment:
    """One segment of the batches of several, in order. Raises Corrupt."""
    copied: list[SegmentBatch] = []
    for ref, data in pieces:
        base_offset = ref.name.base_offset
        batches = verify_stored(data, base_offset=base_offset, record_count=ref.last_offset - base_offset + 1)
        copied += map(_segment_batch, batches)
    return encode_segment(copied, created_ms=created_ms)


def segment_ref(segment: EncodedSegment, *, leader_epoch: LeaderEpoch, nonce: bytes) -> SegmentRef:
    """What a manifest says of a segment that is written under this name."""
    return SegmentRef(
        name=SegmentName(Offset(segment.base_offset), leader_epoch, nonce),
        last_offset=segment.last_offset,
        record_count=segment.record_count,
        size_bytes=segment.size_bytes,
        index_bytes=len(segment.index),
        max_timestamp_ms=segment.max_timestamp_ms,
    )


def epochs_below(epochs: Iterable[EpochStart], *, end_offset: int, log_start: int) -> tuple[EpochStart, ...]:
    """The epochs of the records in [log_start, end_offset), the first one maybe begun before."""
    begun = [each for each in epochs if each.start_offset < end_offset]
    last_before = max((at for at, each in enumerate(begun) if each.start_offset <= log_start), default=0)
    return tuple(begun[last_before:])


def _batches(piece: Piece) -> tuple[BatchView, ...]:
    found = piece.found
    try:
        return verify_stored(
            piece.data,
            base_offset=found.base_offset,
            record_count=found.end_offset - found.base_offset,
            leader_epoch=found.leader_epoch,
        )
    except Corrupt as error:
        where = f"chain object {found.session}/{found.seq} at {found.position}"
        raise Corrupt(f"{where}: {error.message}") from error


def _last_of_each_producer(batches: Sequence[BatchView]) -> list[BatchView]:
    """The last five of each, in order: nothing before them is remembered anyway."""
    counts: dict[int, int] = {}
    kept: list[BatchView] = []
    for batch in reversed(batches):
        producer_id = batch.producer_id
        if producer_id >= 0 and counts.get(producer_id, 0) < PRODUCER_BATCHES_KEPT:
            counts[producer_id] = counts.get(producer_id, 0) + 1
            kept.append(batch)
    kept.reverse()
    return kept


def _segment_batch(batch: BatchView) -> SegmentBatch:
    return SegmentBatch(
        batch.base_offset, batch.last_offset, batch.record_count, batch.max_timestamp_ms, batch.data
    )


def _run(batch: BatchView) -> ProducerRun:
    return ProducerRun(
        batch.producer_id,
        batch.producer_epoch,
        batch.base_sequence,
        batch.last_sequence,
        batch.base_offset,
        batch.max_timestamp_ms,
    )


def _snapshot(producers: ProducerStates) -> tuple[ProducerSnapshot, ...]:
    return tuple(
        ProducerSnapshot(
            producer_id=producer_id,
            producer_epoch=entry.producer_epoch,
            last_timestamp_ms=int(entry.seen),
            runs=entry.runs,
        )
        for producer_id, entry in sorted(producers.items())
    )


def _last_timestamp(snapshot: ProducerSnapshot) -> int:
    return snapshot.last_timestamp_ms
