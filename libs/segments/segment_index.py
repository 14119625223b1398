"""The index beside a segment: offset -> position, time -> offset, both sparse.

Owns: the bytes of an index, the two searches. Does not own: what is entered (`segment.py`).
Rules: 1 offsets, positions, times: each rises strictly from entry to entry; 2 a search gives the place to
begin reading, at or before what is looked for; 3 a CRC32 at the end covers all of it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import Any, NamedTuple, TypeVar
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

E = TypeVar("E", bound=tuple[int, int])


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
    offsets: Sequence[OffsetEntry]
    times: Sequence[TimeEntry]

    def entry_of(self, offset: int) -> OffsetEntry:
        """Where to begin reading for `offset`: a batch at or before the one that has it."""
        at = bisect_right(self.offsets, offset, key=lambda entry: entry.offset)
        return self.offsets[max(at - 1, 0)]

    def position_of(self, offset: int) -> int:
        """The position of that batch."""
        return self.entry_of(offset).position

    def position_after(self, offset: int) -> int | None:
        """Where reading for `offset` may end: the next entry's position; None is the end of the batches."""
        at = bisect_right(self.offsets, offset, key=lambda entry: entry.offset)
        return self.offsets[at].position if at < len(self.offsets) else None

    def entry_before(self, position: int) -> OffsetEntry:
        """The last entry at or before a position of the segment object, else the first one: a batch's
        start.
        """
        at = bisect_right(self.offsets, position, key=lambda entry: entry.position)
        return self.offsets[max(at - 1, 0)]

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
    """The inverse of `encode_segment_index`: all of it is looked at. Raises Corrupt."""
    packed = open_segment_index(data)
    offsets, times = tuple(packed.offsets), tuple(packed.times)
    if _is_unordered(offsets) or _is_unordered(times):
        raise Corrupt("the entries of a segment index are out of order")
    return SegmentIndex(interval_bytes=packed.interval_bytes, offsets=offsets, times=times)


def open_segment_index(data: Buffer) -> SegmentIndex:
    """The same for searches: entries stay packed in `data`, and are unpacked when they are looked at.

    That they rise is left to the CRC and to who wrote them. Raises Corrupt.
    """
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
    offsets = _Packed(view[SEGMENT_INDEX_HEAD_BYTES:times_at], OFFSET_ENTRY, OffsetEntry)
    if offsets[0].position != SEGMENT_HEAD_BYTES or offsets[0].offset < 0:
        raise Corrupt("a segment index doesn't begin at the segment's first batch")
    times = _Packed(view[times_at:end], TIME_ENTRY, TimeEntry)
    return SegmentIndex(interval_bytes=interval_bytes, offsets=offsets, times=times)


class _Packed(Sequence[E]):
    """Entries in their bytes: a tuple each would take ten times the memory, and longer than the GET."""

    __slots__ = ("_make", "_struct", "_view")

    def __init__(self, view: memoryview, struct: Struct, make: Callable[[int, int], E]) -> None:
        self._view = view
        self._struct = struct
        self._make = make

    def __len__(self) -> int:
        return self._view.nbytes // self._struct.size

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return tuple(self[each] for each in range(*at.indices(len(self))))
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self._make(*self._struct.unpack_from(self._view, at * self._struct.size))


def _is_unordered(entries: Sequence[tuple[int, int]]) -> bool:
    return any(early[0] >= late[0] or early[1] >= late[1] for early, late in pairwise(entries))
