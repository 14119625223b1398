"""The index beside a segment: offset -> position, time -> offset, both sparse.

Owns: the bytes of an index, the two searches. Does not own: what is entered (`segment.py`).
Rules: 1 offsets, positions, times: each rises strictly from entry to entry; 2 a search gives the place to
begin reading, at or before what is looked for; 3 a CRC32 at the end covers all of it.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.segments.layout import (
    CRC,
    OFFSET_ENTRY,
    OFFSET_ENTRY_BYTES,
    SEGMENT_HEAD_BYTES,
    SEGMENT_INDEX_BYTES_MAX,
    SEGMENT_INDEX_HEAD,
    SEGMENT_INDEX_HEAD_BYTES,
    SEGMENT_INDEX_MAGIC,
    SEGMENT_INDEX_VERSION,
    TIME_ENTRY,
    TIME_ENTRY_BYTES,
)


class OffsetEntry(NamedTuple):
    """The batch whose first offset is `offset` begins at `position` of the segment object."""

    offset: int
    position: int


class TimeEntry(NamedTuple):
    """Every record below `offset` is at or before `timestamp_ms`."""

    timestamp_ms: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentIndex:
    """Both sparse indexes of a segment."""

    interval_bytes: int
    offsets: tuple[OffsetEntry, ...]
    times: tuple[TimeEntry, ...]

    def position_of(self, offset: int) -> int:
        """Where to begin reading for `offset`: the start of a batch at or before the one that has it."""
        at = bisect_right(self.offsets, offset, key=lambda entry: entry.offset)
        return self.offsets[max(at - 1, 0)].position

    def position_after(self, offset: int) -> int | None:
        """Where reading for `offset` may end: the next entry's position; None is the end of the batches."""
        at = bisect_right(self.offsets, offset, key=lambda entry: entry.offset)
        return self.offsets[at].position if at < len(self.offsets) else None

    def offset_before(self, timestamp_ms: int) -> int:
        """Where to begin looking for the first record at or after `timestamp_ms`: a batch's first offset."""
        at = bisect_left(self.times, timestamp_ms, key=lambda entry: entry.timestamp_ms)
        return self.times[at - 1].offset if at else self.offsets[0].offset


def encode_segment_index(index: SegmentIndex) -> bytes:
    """An index's bytes. Raises ValueError beyond the bound of the format."""
    head = SEGMENT_INDEX_HEAD.pack(
        SEGMENT_INDEX_MAGIC, SEGMENT_INDEX_VERSION, len(index.offsets), index.interval_bytes, len(index.times)
    )
    body = b"".join(
        [
            head,
            *(OFFSET_ENTRY.pack(*entry) for entry in index.offsets),
            *(TIME_ENTRY.pack(*e) for e in index.times),
        ]
    )
    if len(body) > SEGMENT_INDEX_BYTES_MAX:
        raise ValueError(f"a segment index of {len(body)} bytes is too large")
    return body + CRC.pack(crc32(body))


def parse_segment_index(data: Buffer) -> SegmentIndex:
    """The inverse of `encode_segment_index`. Raises Corrupt."""
    view = memoryview(data)
    if not SEGMENT_INDEX_HEAD_BYTES + CRC.size <= view.nbytes <= SEGMENT_INDEX_BYTES_MAX + CRC.size:
        raise Corrupt(f"a segment index can't have {view.nbytes} bytes")
    magic, version, offset_count, interval_bytes, time_count = SEGMENT_INDEX_HEAD.unpack_from(view)
    if (magic, version) != (SEGMENT_INDEX_MAGIC, SEGMENT_INDEX_VERSION):
        raise Corrupt(f"a segment index begins with {magic!r}, version {version}: not known here")
    times_at = SEGMENT_INDEX_HEAD_BYTES + offset_count * OFFSET_ENTRY_BYTES
    end = times_at + time_count * TIME_ENTRY_BYTES
    if end + CRC.size != view.nbytes or not offset_count:
        raise Corrupt(
            f"a segment index of {view.nbytes} bytes announces {offset_count} + {time_count} entries"
        )
    if CRC.unpack_from(view, end) != (crc32(view[:end]),):
        raise Corrupt("the CRC of a segment index is wrong")
    offsets = tuple(map(OffsetEntry._make, OFFSET_ENTRY.iter_unpack(view[SEGMENT_INDEX_HEAD_BYTES:times_at])))
    times = tuple(map(TimeEntry._make, TIME_ENTRY.iter_unpack(view[times_at:end])))
    for entries in (offsets, times):
        if any(early[0] >= late[0] or early[1] >= late[1] for early, late in pairwise(entries)):
            raise Corrupt("the entries of a segment index are out of order")
    if offsets[0].position != SEGMENT_HEAD_BYTES or offsets[0].offset < 0:
        raise Corrupt("a segment index doesn't begin at the segment's first batch")
    return SegmentIndex(interval_bytes=interval_bytes, offsets=offsets, times=times)
