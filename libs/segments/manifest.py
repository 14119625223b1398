"""The manifest (.kfm): what a partition consists of below an offset.

Owns: the values and bytes of a manifest. Does not own: which manifest counts (a pointer in the metadata
store), what is in the segments.
Rules: 1 the segments are in order and don't overlap; a gap is what retention or compaction
dropped; 2 the producer snapshot covers exactly the records below `end_offset` (design section 3, rule 15):
each producer's last five batches, oldest first; 3 a new field is a new version.
"""

from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from crc32c import crc32c

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.model.ids import LeaderEpoch, Offset, Partition, TopicId, TopicPartition
from libs.model.limits import PRODUCER_BATCHES_KEPT
from libs.segments.keys import SegmentName
from libs.segments.layout import (
    BATCH_BYTES_MIN,
    CRC,
    MANIFEST_BYTES_MAX,
    MANIFEST_EPOCH,
    MANIFEST_HEAD,
    MANIFEST_HEAD_BYTES,
    MANIFEST_MAGIC,
    MANIFEST_PRODUCER,
    MANIFEST_RUN,
    MANIFEST_SEGMENT,
    MANIFEST_VERSION,
    NONCE_BYTES,
    SEGMENT_BYTES_MAX,
    SEGMENT_FOOTER_BYTES,
    SEGMENT_HEAD_BYTES,
)
from libs.segments.wal import ProducerRun

_ZEROS = b"\0\0\0"
_SEGMENT_BYTES_MIN = SEGMENT_HEAD_BYTES + BATCH_BYTES_MIN + SEGMENT_FOOTER_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRef:
    """A segment of the partition. Its `name` (base offset, writer's epoch, nonce) spells its key."""

    name: SegmentName
    last_offset: int
    record_count: int
    size_bytes: int
    index_bytes: int
    max_timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStart:
    """The first offset that was appended under a leader epoch (KIP-101, for OffsetForLeaderEpoch)."""

    leader_epoch: int
    start_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSnapshot:
    """A producer's state at the manifest's end. `last_timestamp_ms`: when it was last compacted; beyond
    a count the oldest are forgotten first.

    Without runs: its epoch is known, its sequences start anew.
    """

    producer_id: int
    producer_epoch: int
    last_timestamp_ms: int
    runs: tuple[ProducerRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A partition below `end_offset`; readers begin at `log_start`. (leader_epoch, n) names it."""

    tp: TopicPartition
    leader_epoch: int
    n: int
    created_ms: int
    log_start: int
    end_offset: int
    segments: tuple[SegmentRef, ...] = ()
    epochs: tuple[EpochStart, ...] = ()
    producers: tuple[ProducerSnapshot, ...] = ()


def encode_manifest(manifest: Manifest) -> bytes:
    """A manifest's bytes. Raises ValueError for what breaks the module's rules or the format's bounds."""
    wrong = _wrong_with(manifest)
    if wrong:
        raise ValueError(wrong)
    parts = [
        MANIFEST_HEAD.pack(
            MANIFEST_MAGIC,
            MANIFEST_VERSION,
            _ZEROS,
            manifest.tp.topic_id.bytes,
            manifest.tp.partition,
            manifest.leader_epoch,
            manifest.n,
            manifest.created_ms,
            manifest.log_start,
            manifest.end_offset,
            len(manifest.segments),
            len(manifest.epochs),
            len(manifest.producers),
        )
    ]
    parts += [_pack_segment(segment) for segment in manifest.segments]
    parts += [MANIFEST_EPOCH.pack(epoch.leader_epoch, epoch.start_offset) for epoch in manifest.epochs]
    for producer in manifest.producers:
        parts.append(
            MANIFEST_PRODUCER.pack(
                producer.producer_id, producer.producer_epoch, producer.last_timestamp_ms, len(producer.runs)
            )
        )
        parts += [MANIFEST_RUN.pack(*run[1:]) for run in producer.runs]
    body = b"".join(parts)
    if len(body) > MANIFEST_BYTES_MAX:
        raise ValueError(f"a manifest of {len(body)} bytes is too large")
    return body + CRC.pack(crc32c(body))


def parse_manifest(data: Buffer) -> Manifest:
    """The inverse of `encode_manifest`. Raises Corrupt."""
    view = memoryview(data)
    if not MANIFEST_HEAD_BYTES + CRC.size <= view.nbytes <= MANIFEST_BYTES_MAX + CRC.size:
        raise Corrupt(f"a manifest can't have {view.nbytes} bytes")
    end = view.nbytes - CRC.size
    fields = MANIFEST_HEAD.unpack_from(view)
    if fields[:3] != (MANIFEST_MAGIC, MANIFEST_VERSION, _ZEROS):
        raise Corrupt(f"a manifest begins with {fields[0]!r}, version {fields[1]}: not known here")
    if CRC.unpack_from(view, end) != (crc32c(view[:end]),):
        raise Corrupt("the CRC of a manifest is wrong")
    topic_id, partition, leader_epoch, n, created_ms, log_start, end_offset = fields[3:10]
    segments, epochs, producers = fields[10:]
    segments_end = MANIFEST_HEAD_BYTES + segments * MANIFEST_SEGMENT.size
    epochs_end = segments_end + epochs * MANIFEST_EPOCH.size
    if epochs_end + producers * MANIFEST_PRODUCER.size > end:
        raise Corrupt(f"a manifest of {view.nbytes} bytes announces {segments} + {epochs} + {producers}")
    manifest = Manifest(
        tp=TopicPartition(TopicId(UUID(bytes=topic_id)), Partition(partition)),
        leader_epoch=leader_epoch,
        n=n,
        created_ms=created_ms,
        log_start=log_start,
        end_offset=end_offset,
        segments=_parse_segments(view[MANIFEST_HEAD_BYTES:segments_end]),
        epochs=tuple(
            EpochStart(leader_epoch=epoch, start_offset=start)
            for epoch, start in MANIFEST_EPOCH.iter_unpack(view[segments_end:epochs_end])
        ),
        producers=_parse_producers(view[epochs_end:end], producers),
    )
    wrong = _wrong_with(manifest)
    if wrong:
        raise Corrupt(wrong)
    return manifest


def _pack_segment(segment: SegmentRef) -> bytes:
    return MANIFEST_SEGMENT.pack(
        segment.name.base_offset,
        segment.last_offset,
        segment.name.leader_epoch,
        segment.record_count,
        segment.size_bytes,
        segment.index_bytes,
        segment.max_timestamp_ms,
        segment.name.nonce,
    )


def _parse_segments(view: memoryview) -> tuple[SegmentRef, ...]:
    return tuple(
        SegmentRef(
            name=SegmentName(Offset(base), LeaderEpoch(epoch), nonce),
            last_offset=last,
            record_count=count,
            size_bytes=size_bytes,
            index_bytes=index_bytes,
            max_timestamp_ms=max_ms,
        )
        for base, last, epoch, count, size_bytes, index_bytes, max_ms, nonce in MANIFEST_SEGMENT.iter_unpack(
            view
        )
    )


def _parse_producers(view: memoryview, count: int) -> tuple[ProducerSnapshot, ...]:
    producers: list[ProducerSnapshot] = []
    position = 0
    for _ in range(count):
        runs_at = position + MANIFEST_PRODUCER.size
        if runs_at > view.nbytes:
            raise Corrupt("the producers of a manifest are cut off")
        producer_id, epoch, last_ms, run_count = MANIFEST_PRODUCER.unpack_from(view, position)
        position = runs_at + run_count * MANIFEST_RUN.size
        if position > view.nbytes:
            raise Corrupt("the producer runs of a manifest are cut off")
        runs = MANIFEST_RUN.iter_unpack(view[runs_at:position])
        producers.append(
            ProducerSnapshot(
                producer_id=producer_id,
                producer_epoch=epoch,
                last_timestamp_ms=last_ms,
                runs=tuple(ProducerRun(producer_id, *run) for run in runs),
            )
        )
    if position != view.nbytes:
        raise Corrupt("a manifest has bytes after its last producer")
    return tuple(producers)


def _wrong_with(manifest: Manifest) -> str:
    """What is impossible about a manifest; empty when nothing is."""
    log_start, end_offset = manifest.log_start, manifest.end_offset
    if manifest.tp.partition < 0 or manifest.leader_epoch < 0 or not 0 <= log_start <= end_offset:
        return f"a manifest of {manifest.tp} has epoch {manifest.leader_epoch}, {log_start}..{end_offset}"
    for segment in manifest.segments:
        if _segment_is_wrong(segment, manifest):
            return f"a manifest has the impossible segment {segment}"
    for producer in manifest.producers:
        if _producer_is_wrong(producer, manifest):
            return f"a manifest has the impossible producer {producer}"
    if not _in_order(manifest):
        return "the segments, epochs or producers of a manifest are out of order"
    return ""


def _in_order(manifest: Manifest) -> bool:
    epochs, producers = manifest.epochs, manifest.producers
    return (
        all(early.last_offset < late.name.base_offset for early, late in pairwise(manifest.segments))
        and all(early.leader_epoch < late.leader_epoch for early, late in pairwise(epochs))
        and all(early.start_offset <= late.start_offset for early, late in pairwise(epochs))
        and all(early.producer_id < late.producer_id for early, late in pairwise(producers))
    )


def _segment_is_wrong(segment: SegmentRef, manifest: Manifest) -> bool:
    return not (
        0 <= segment.name.base_offset <= segment.last_offset < manifest.end_offset
        and len(segment.name.nonce) == NONCE_BYTES
        and 0 < segment.record_count <= segment.last_offset - segment.name.base_offset + 1
        and _SEGMENT_BYTES_MIN <= segment.size_bytes <= SEGMENT_BYTES_MAX
    )


def _producer_is_wrong(producer: ProducerSnapshot, manifest: Manifest) -> bool:
    return (
        producer.producer_id < 0
        or len(producer.runs) > PRODUCER_BATCHES_KEPT
        or not all(
            run.producer_id == producer.producer_id
            and min(run.producer_epoch, run.base_sequence, run.last_sequence, run.base_offset) >= 0
            and run.last_offset < manifest.end_offset
            for run in producer.runs
        )
    )
