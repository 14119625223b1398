"""Reads compacted segments: their indexes, kept open in a bounded cache, and windows of their batches.

Owns: the cache of indexes, the steps of a read, read-ahead. Does not own: blocks and the bounds of parallel
GETs (cold_reads.py), which bytes (segment_windows.py).
Rules: 1 an index is read once at a time for all who need it; 2 readers near the end of the log have GETs of
their own, as for chains; 3 the caller's list of segments is read to the end, whatever was compacted meanwhile
(design section 3, rule 15).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import trio

from libs.concurrency.single_flight import SingleFlight
from libs.model.errors import Corrupt, KafscaleError
from libs.objectstore.port import ObjectReader
from libs.segments.keys import PartitionFolder, segment_index_key, segment_key
from libs.segments.layout import SEGMENT_HEAD_BYTES
from libs.segments.manifest import SegmentRef
from libs.segments.segment_index import SegmentIndex, open_segment_index
from services.partition_owner.byte_lru import ByteLru
from services.partition_owner.cold_reads import ColdReads
from services.partition_owner.parallel import for_each
from services.partition_owner.segment_windows import (
    SEGMENTS_MAX,
    SegmentWindow,
    batches_end_of,
    begin_of,
    end_of,
    plan_windows,
)

_AHEAD_TASKS_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReadLimits:
    index_cache_bytes_max: int
    tail_gets_max: int
    cold_gets_max: int
    read_ahead_bytes: int


class SegmentReadStatistics(NamedTuple):
    """Of the cache of indexes."""

    used_bytes: int
    bytes_max: int
    hits: int
    misses: int


class LoadedWindow(NamedTuple):
    """`data` is whole batches: the bytes that `window` names."""

    window: SegmentWindow
    data: memoryview


class SegmentReads:
    """`nursery` outlives the readers."""

    def __init__(
        self, *, store: ObjectReader, cold: ColdReads, limits: SegmentReadLimits, nursery: trio.Nursery
    ) -> None:
        self._store = store
        self._cold = cold
        self._limits = limits
        self._nursery = nursery
        self._indexes: ByteLru[str, SegmentIndex] = ByteLru(limits.index_cache_bytes_max)
        self._tail_flights: SingleFlight[str, SegmentIndex] = SingleFlight(
            nursery, runs_max=limits.tail_gets_max
        )
        self._cold_flights: SingleFlight[str, SegmentIndex] = SingleFlight(
            nursery, runs_max=limits.cold_gets_max
        )
        self._ahead: set[str] = set()

    async def load(
        self,
        folder: PartitionFolder,
        segments: Sequence[SegmentRef],
        offset: int,
        max_bytes: int,
        *,
        near_tail: bool,
    ) -> list[LoadedWindow]:
        """Whole batches from the one that holds `offset`, or the first one behind it: at least one, and as
        many as `max_bytes` allow. The first of `segments` holds the offset or follows it.

        Raises NotFound where an object is gone, Corrupt, Unavailable.
        """
        segment = segments[0]
        index = await self._index(folder, segment, near_tail=near_tail)
        windows = plan_windows(segments, index, offset, max_bytes)
        datas: dict[int, memoryview] = {}

        async def read(at: int) -> None:
            datas[at] = await self._read(folder, windows[at], near_tail=near_tail)

        await for_each(range(len(windows)), read, at_once_max=SEGMENTS_MAX)
        begin = begin_of(windows[0], datas[0], offset)
        end = end_of(windows[0], datas[0], begin, max_bytes, index)
        if end > datas[0].nbytes:  # a batch that is larger than all that was asked for
            windows = [windows[0]._replace(size_bytes=end)]
            datas = {0: await self._read(folder, windows[0], near_tail=near_tail)}
        loaded = [_trimmed(windows[0], datas[0], begin, end)]
        left_bytes = max_bytes - (end - begin)
        for at in range(1, len(windows)):
            end = end_of(windows[at], datas[at], 0, left_bytes, None)
            if end > min(datas[at].nbytes, left_bytes) or not end:
                break
            loaded.append(_trimmed(windows[at], datas[at], 0, end))
            left_bytes -= end
        if not near_tail:
            self._read_ahead(folder, segments, len(loaded) - 1, loaded[-1].window)
        return loaded

    async def offset_before(
        self, folder: PartitionFolder, segment: SegmentRef, timestamp_ms: int, *, near_tail: bool
    ) -> int:
        """Where in the segment to begin looking for a time. Raises like `load`."""
        return (await self._index(folder, segment, near_tail=near_tail)).offset_before(timestamp_ms)

    def statistics(self) -> SegmentReadStatistics:
        indexes = self._indexes
        return SegmentReadStatistics(indexes.used_bytes, indexes.bytes_max, indexes.hits, indexes.misses)

    async def _read(self, folder: PartitionFolder, window: SegmentWindow, *, near_tail: bool) -> memoryview:
        key = segment_key(folder, window.segment.name)
        return await self._cold.read(key, window.position, window.size_bytes, near_tail=near_tail)

    async def _index(self, folder: PartitionFolder, segment: SegmentRef, *, near_tail: bool) -> SegmentIndex:
        key = segment_index_key(folder, segment.name)
        cached = self._indexes.get(key)
        if cached is not None:
            return cached
        flights = self._tail_flights if near_tail else self._cold_flights
        return await flights.run(key, lambda: self._get_index(key, segment))

    async def _get_index(self, key: str, segment: SegmentRef) -> SegmentIndex:
        data = await self._store.get(key)
        index = open_segment_index(data)
        if len(data) != segment.index_bytes or index.offsets[0].offset != segment.name.base_offset:
            raise Corrupt(
                f"the segment index {key} has {len(data)} bytes from offset {index.offsets[0].offset};"
                f" its manifest says {segment.index_bytes}"
            )
        self._indexes.put(key, index, len(data))
        return index

    def _read_ahead(
        self, folder: PartitionFolder, segments: Sequence[SegmentRef], at: int, window: SegmentWindow
    ) -> None:
        """What the reader asks for next: the rest of the last window's segment, then the one behind it."""
        left_bytes = self._limits.read_ahead_bytes
        position = window.position + window.size_bytes
        while left_bytes > 0:
            segment = segments[at]
            size_bytes = min(left_bytes, batches_end_of(segment) - position)
            if size_bytes > 0:
                self._cold.read_ahead(segment_key(folder, segment.name), position, size_bytes)
            left_bytes -= max(size_bytes, 0)
            at, position = at + 1, SEGMENT_HEAD_BYTES
            if at >= len(segments) or left_bytes <= 0:
                return
            self._index_ahead(folder, segments[at])

    def _index_ahead(self, folder: PartitionFolder, segment: SegmentRef) -> None:
        key = segment_index_key(folder, segment.name)
        if key not in self._indexes and key not in self._ahead and len(self._ahead) < _AHEAD_TASKS_MAX:
            self._ahead.add(key)
            self._nursery.start_soon(self._prefetch, key, segment)

    async def _prefetch(self, key: str, segment: SegmentRef) -> None:
        try:
            await self._cold_flights.run(key, lambda: self._get_index(key, segment))
        except KafscaleError:
            return  # whoever needs it will read it again and be told
        finally:
            self._ahead.discard(key)


def _trimmed(window: SegmentWindow, data: memoryview, begin: int, end: int) -> LoadedWindow:
    """Only [begin, end) of it."""
    kept = data[begin:end]
    base_offset = int.from_bytes(kept[:8], "big")
    return LoadedWindow(
        SegmentWindow(window.segment, base_offset, window.position + begin, end - begin), kept
    )
