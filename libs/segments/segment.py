"""The compacted segment (.kfs): a partition's batches from one offset to another, and the index beside it.

Owns: head, footer and index of a segment, writer and reader. Does not own: which batches go together
(compaction), the batches themselves (libs/records checks them).
Rules: 1 batches go in as they are, with final offsets, in offset order; offsets may have gaps; 2 a CRC32
(zlib) covers head, batches and last offset, for whole reads; ranged reads rely on the batches' own CRCs; 3
the index is sparse: an entry at the first batch and then at the first one after every `interval_bytes`; 4 a
time entry says that every record below its offset is at or before its time: so the search for a time begins
there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.segments.layout import (
    BATCH_BYTES_MIN,
    INDEX_INTERVAL_BYTES,
    SEGMENT_BYTES_MAX,
    SEGMENT_END_MAGIC,
    SEGMENT_FOOTER,
    SEGMENT_FOOTER_BYTES,
    SEGMENT_HEAD,
    SEGMENT_HEAD_BYTES,
    SEGMENT_LAST_OFFSET,
    SEGMENT_MAGIC,
    SEGMENT_RECORDS_MAX,
    SEGMENT_VERSION,
)
from libs.segments.segment_index import OffsetEntry, SegmentIndex, TimeEntry, encode_segment_index


class SegmentBatch(NamedTuple):
    """A batch on its way into a segment."""

    base_offset: int
    last_offset: int
    record_count: int
    max_timestamp_ms: int
    data: Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHead:
    """The first SEGMENT_HEAD_BYTES of a segment."""

    base_offset: int
    record_count: int
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFooter:
    """The last SEGMENT_FOOTER_BYTES of a segment. `crc`: see rule 2."""

    crc: int
    last_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSegment:
    """A segment and its index, ready for their PUTs, and what a manifest says about them."""

    buffers: list[Buffer]
    size_bytes: int
    index: bytes
    base_offset: int
    last_offset: int
    record_count: int
    max_timestamp_ms: int


def encode_segment(
    batches: Sequence[SegmentBatch], *, created_ms: int, interval_bytes: int = INDEX_INTERVAL_BYTES
) -> EncodedSegment:
    """Frames batches as a segment with its index; the batches' buffers are passed on, not copied.

    Raises ValueError without batches, for offsets out of order, and beyond a bound of the format.
    """
    if not batches:
        raise ValueError("a segment has at least one batch")
    position = SEGMENT_HEAD_BYTES
    next_offset = batches[0].base_offset
    last_entry_at = -interval_bytes
    record_count = 0
    max_timestamp_ms = -1
    offsets: list[OffsetEntry] = []
    times: list[TimeEntry] = []
    for batch in batches:
        if not next_offset <= batch.base_offset <= batch.last_offset:
            raise ValueError(
                f"a batch of {batch.base_offset}..{batch.last_offset} can't follow {next_offset - 1}"
            )
        if position - last_entry_at >= interval_bytes:
            offsets.append(OffsetEntry(batch.base_offset, position))
            last_entry_at = position
            if record_count and (not times or max_timestamp_ms > times[-1].timestamp_ms):
                times.append(TimeEntry(max_timestamp_ms, batch.base_offset))
        position += memoryview(batch.data).nbytes
        next_offset = batch.last_offset + 1
        record_count += batch.record_count
        max_timestamp_ms = max(max_timestamp_ms, batch.max_timestamp_ms)
    size_bytes = position + SEGMENT_FOOTER_BYTES
    if size_bytes > SEGMENT_BYTES_MAX or record_count > SEGMENT_RECORDS_MAX:
        raise ValueError(f"a segment of {size_bytes} bytes and {record_count} records is too large")
    base_offset = batches[0].base_offset
    head = SEGMENT_HEAD.pack(SEGMENT_MAGIC, SEGMENT_VERSION, 0, base_offset, record_count, created_ms, 0)
    last_offset = next_offset - 1
    crc = crc32(head)
    for batch in batches:
        crc = crc32(batch.data, crc)
    crc = crc32(SEGMENT_LAST_OFFSET.pack(last_offset), crc)
    return EncodedSegment(
        buffers=[
            head,
            *(batch.data for batch in batches),
            SEGMENT_FOOTER.pack(crc, last_offset, SEGMENT_END_MAGIC),
        ],
        size_bytes=size_bytes,
        index=encode_segment_index(
            SegmentIndex(interval_bytes=interval_bytes, offsets=tuple(offsets), times=tuple(times))
        ),
        base_offset=base_offset,
        last_offset=last_offset,
        record_count=record_count,
        max_timestamp_ms=max_timestamp_ms,
    )


def parse_segment_head(data: Buffer) -> SegmentHead:
    """Reads the first SEGMENT_HEAD_BYTES of a segment; `data` may be longer. Raises Corrupt."""
    if memoryview(data).nbytes < SEGMENT_HEAD_BYTES:
        raise Corrupt(f"a segment's head is cut off after {memoryview(data).nbytes} bytes")
    magic, version, flags, base_offset, record_count, created_ms, reserved = SEGMENT_HEAD.unpack_from(data)
    if (magic, version, flags, reserved) != (SEGMENT_MAGIC, SEGMENT_VERSION, 0, 0):
        raise Corrupt(f"a segment begins with {magic:#x}, version {version}, flags {flags}: not known here")
    if base_offset < 0 or record_count < 1:
        raise Corrupt(f"a segment announces {record_count} records from offset {base_offset}")
    return SegmentHead(base_offset=base_offset, record_count=record_count, created_ms=created_ms)


def parse_segment_footer(suffix: Buffer) -> SegmentFooter:
    """Reads the last SEGMENT_FOOTER_BYTES of a segment; `suffix` may be longer. Raises Corrupt."""
    view = memoryview(suffix)
    if view.nbytes < SEGMENT_FOOTER_BYTES:
        raise Corrupt(f"a segment's footer is cut off: {view.nbytes} bytes")
    crc, last_offset, magic = SEGMENT_FOOTER.unpack_from(view, view.nbytes - SEGMENT_FOOTER_BYTES)
    if magic != SEGMENT_END_MAGIC or last_offset < 0:
        raise Corrupt(f"a segment ends with {magic:#x}, last offset {last_offset}")
    return SegmentFooter(crc=crc, last_offset=last_offset)


def parse_segment(data: Buffer) -> tuple[SegmentHead, SegmentFooter, memoryview]:
    """A whole segment, its CRC checked: head, footer, and the batches. Raises Corrupt."""
    view = memoryview(data)
    head = parse_segment_head(view)
    if view.nbytes < SEGMENT_HEAD_BYTES + BATCH_BYTES_MIN + SEGMENT_FOOTER_BYTES:
        raise Corrupt(f"a segment of {view.nbytes} bytes has no batch")
    footer = parse_segment_footer(view)
    batches_end = view.nbytes - SEGMENT_FOOTER_BYTES
    crc = crc32(SEGMENT_LAST_OFFSET.pack(footer.last_offset), crc32(view[:batches_end]))
    if crc != footer.crc or footer.last_offset < head.base_offset:
        raise Corrupt("the CRC of a segment is wrong")
    return head, footer, view[SEGMENT_HEAD_BYTES:batches_end]
