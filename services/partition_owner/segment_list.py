"""The segments of one manifest with lookups by offset and by time. Pure.

Owns: both searches, running sizes. Does not own: what is in a segment (segment_reads.py).
Rules: 1 segments are in order and don't overlap, but there may be gaps; 2 a list never changes: readers keep
the one that they began with (design section 3, rule 15).
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from libs.segments.manifest import SegmentRef


class SegmentList:
    """Times are kept as running maxima, sizes as running totals: each search is one bisection."""

    __slots__ = ("_times", "_totals", "segments")

    def __init__(self, segments: Sequence[SegmentRef]) -> None:
        self.segments = tuple(segments)
        self._totals = tuple(accumulate((each.size_bytes for each in self.segments), initial=0))
        self._times = tuple(accumulate((each.max_timestamp_ms for each in self.segments), max))

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def size_bytes(self) -> int:
        return self._totals[-1]

    def find(self, offset: int) -> int:
        """Index of the segment that holds `offset`, else of the first one behind it; their number where there
        is none."""
        return bisect_left(self.segments, offset, key=_last_offset)

    def size_bytes_from(self, offset: int) -> int:
        """Bytes of the segments from the one that `find` gives on."""
        return self._totals[-1] - self._totals[self.find(offset)]

    def at_time(self, timestamp_ms: int, from_offset: int) -> SegmentRef | None:
        """The first segment that has `from_offset` or is behind it, and has a record at or after
        `timestamp_ms`.
        """
        first = max(self.find(from_offset), bisect_left(self._times, timestamp_ms))
        return next((each for each in self.segments[first:] if each.max_timestamp_ms >= timestamp_ms), None)

    def max_time_ms(self, from_offset: int) -> int:
        """The greatest timestamp of the segments that have `from_offset` or are behind it; -1 for none."""
        return max((each.max_timestamp_ms for each in self.segments[self.find(from_offset) :]), default=-1)


def _last_offset(segment: SegmentRef) -> int:
    return segment.last_offset
