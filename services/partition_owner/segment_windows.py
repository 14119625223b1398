"""Which bytes of which segments answer a fetch, and where whole batches begin and end in them. Pure.

Owns: windows, walking stored batches. Does not own: reading, the limits of a fetch (read_plan.py).
Rules: 1 a window begins with a batch; 2 only whole batches are kept, the first one holds the wanted offset or
is the first one behind it; 3 an index saves walking: between two of its entries nobody looks; 4 what is read
must be what manifest and index say, else it is Corrupt.
"""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from libs.model.errors import Corrupt
from libs.records.layout import HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC_V2
from libs.segments.layout import SEGMENT_FOOTER_BYTES, SEGMENT_HEAD_BYTES
from libs.segments.manifest import SegmentRef
from libs.segments.segment_index import SegmentIndex

SEGMENTS_MAX = 16
"""Of one partition in one fetch: where segments are tiny, a fetch ends before its bytes do."""

_HEADER = Struct(">qiibIhi")  # base offset, batch length, leader epoch, magic, CRC, attributes, last delta


class SegmentWindow(NamedTuple):
    """Bytes [position, position + size_bytes) of a segment; the batch there begins at `base_offset`."""

    segment: SegmentRef
    base_offset: int
    position: int
    size_bytes: int

    @property
    def ends_segment(self) -> bool:
        """Whether there is no batch of the segment behind it."""
        return self.position + self.size_bytes == batches_end_of(self.segment)

    def __str__(self) -> str:
        name = self.segment.name
        return (
            f"the segment {name.base_offset}-{name.leader_epoch}-{name.nonce.hex()} from position"
            f" {self.position} on"
        )


def batches_end_of(segment: SegmentRef) -> int:
    """Where the batches of a segment end in its object."""
    return segment.size_bytes - SEGMENT_FOOTER_BYTES


def plan_windows(
    segments: Sequence[SegmentRef], index: SegmentIndex, offset: int, max_bytes: int
) -> list[SegmentWindow]:
    """What to read for `max_bytes` from `offset` on; `index` is that of the first of `segments`, which holds
    the offset. The others are read from their beginning, and only where the first one is read to its end.
    """
    segment = segments[0]
    found = index.entry_of(offset)
    there_bytes = batches_end_of(segment) - found.position
    # The wanted batch begins within an interval: so much more shows at least its header.
    wanted_bytes = max_bytes + index.interval_bytes + HEADER_BYTES
    if there_bytes < HEADER_BYTES:
        raise Corrupt(f"the index of a segment points to {found.position}, where {segment} has no batch")
    windows = [SegmentWindow(segment, found.offset, found.position, min(there_bytes, wanted_bytes))]
    left_bytes = max_bytes - there_bytes
    for following in segments[1:SEGMENTS_MAX]:
        if left_bytes < HEADER_BYTES:
            break
        there_bytes = batches_end_of(following) - SEGMENT_HEAD_BYTES
        windows.append(
            SegmentWindow(
                following, following.name.base_offset, SEGMENT_HEAD_BYTES, min(there_bytes, left_bytes)
            )
        )
        left_bytes -= there_bytes
    return windows


def begin_of(window: SegmentWindow, data: memoryview, offset: int) -> int:
    """Where in `data` the batch begins that holds `offset`, or the first one behind it."""
    if data.nbytes < HEADER_BYTES or _HEADER.unpack_from(data)[0] != window.base_offset:
        raise Corrupt(f"{window} does not begin with a batch of offset {window.base_offset}")
    at, least_offset = 0, window.base_offset
    while at + HEADER_BYTES <= data.nbytes:
        size_bytes, last_offset = _look(window, data, at, least_offset)
        if last_offset >= offset:
            return at
        at += size_bytes
        least_offset = last_offset + 1
    raise Corrupt(f"{window} has no batch with offset {offset}")


def end_of(
    window: SegmentWindow, data: memoryview, begin: int, max_bytes: int, index: SegmentIndex | None
) -> int:
    """The end of the last whole batch within `max_bytes` from `begin`, and at least of the first one: where
    that one is cut off, it is beyond the end of `data`. Without any batch it is `begin`.
    """
    if begin + HEADER_BYTES > data.nbytes:
        return begin
    size_bytes, last_offset = _look(window, data, begin, window.base_offset)
    end, least_offset = begin + size_bytes, last_offset + 1
    limit = min(data.nbytes, begin + max_bytes)
    if index is not None:
        found = index.entry_before(window.position + limit)
        if found.position - window.position > end:
            end, least_offset = found.position - window.position, found.offset
            if end + HEADER_BYTES <= data.nbytes and _HEADER.unpack_from(data, end)[0] != found.offset:
                raise Corrupt(f"{window} has no batch of offset {found.offset} at {found.position}")
    while end + HEADER_BYTES <= limit:
        size_bytes, last_offset = _look(window, data, end, least_offset)
        if end + size_bytes > limit:
            break
        end, least_offset = end + size_bytes, last_offset + 1
    return end


def _look(window: SegmentWindow, data: memoryview, at: int, least_offset: int) -> tuple[int, int]:
    """Size and last offset of the batch at `at`. Raises Corrupt for what can't be a batch there."""
    base_offset, batch_length, _, magic, _, _, last_delta = _HEADER.unpack_from(data, at)
    size_bytes = LENGTH_PREFIX_BYTES + batch_length
    last_offset = base_offset + last_delta
    if (
        magic != MAGIC_V2
        or size_bytes < HEADER_BYTES
        or window.position + at + size_bytes > batches_end_of(window.segment)
        or not least_offset <= base_offset <= last_offset <= window.segment.last_offset
    ):
        raise Corrupt(
            f"{window} has no batch from offset {least_offset} on at {window.position + at}: magic {magic},"
            f" {size_bytes} bytes, offsets {base_offset}..{last_offset}"
        )
    return size_bytes, last_offset
