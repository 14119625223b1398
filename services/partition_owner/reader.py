"""Gets the bytes of a log: from the tail cache, else by cold reads of chain objects and segments.

Owns: where to look first, what counts as the end of the log. Does not own: the caches.
Rules: 1 a reader at the end of the log finds everything in memory and never waits; 2 an object of the log's
list that is gone means that the list is old: Moved, not Corrupt (design section 3, rule 16); so does a seal
that came to its place afterwards.
"""

from collections.abc import Sequence
from typing import NamedTuple

from libs.model.errors import Corrupt, Moved, NotFound, Reason
from libs.objectstore.port import ObjectStore
from libs.segments.keys import chain_object_key
from libs.segments.manifest import SegmentRef
from libs.segments.seal import Seal
from services.partition_owner.chain_writer import read_chain_object
from services.partition_owner.cold_reads import ColdReads
from services.partition_owner.collection.chains import is_before_start
from services.partition_owner.log import LogRange, PartitionLog
from services.partition_owner.parallel import for_each
from services.partition_owner.partition import Partition
from services.partition_owner.read_plan import Place, check_place, ranges_to_read
from services.partition_owner.segment_reads import SegmentReads
from services.partition_owner.tail_cache import TailCache

_LOADS_AT_ONCE_MAX = 32


class Loaded(NamedTuple):
    """Stored batches: where each chunk is from, and its bytes."""

    places: Sequence[Place]
    chunks: Sequence[memoryview]


class Reader:
    """`read` by offset; `load_nowait` where all of it is in memory. `store`: what chains are written to."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        tail: TailCache,
        cold: ColdReads,
        segments: SegmentReads,
        near_tail_bytes: int,
        read_ahead_bytes: int,
    ) -> None:
        self._store = store
        self._tail = tail
        self._cold = cold
        self._segments = segments
        self._near_tail_bytes = near_tail_bytes
        self._read_ahead_bytes = read_ahead_bytes

    @property
    def tail(self) -> TailCache:
        return self._tail

    @property
    def cold(self) -> ColdReads:
        return self._cold

    @property
    def segments(self) -> SegmentReads:
        return self._segments

    def load_nowait(self, ranges: Sequence[LogRange]) -> list[memoryview] | None:
        """The bytes of the ranges, None unless all of them are in the tail cache."""
        chunks: list[memoryview] = []
        for found in ranges:
            chunk = self._tail.get(
                found.session, found.seq, position=found.position, size_bytes=found.size_bytes
            )
            if chunk is None:
                return None
            chunks.append(chunk)
        return chunks

    async def read(self, partition: Partition, offset: int, max_bytes: int) -> Loaded:
        """What holds `offset` and what follows it, some `max_bytes`; nothing where that is not durable yet.

        The list is the log's as of now. Raises Moved where it turns out to be old, Unavailable, Corrupt.
        """
        log = partition.log
        segments = log.segments[log.segment_list.find(offset) :] if offset < log.compacted_end else ()
        if segments:
            return await self.read_segments(partition, segments, offset, max_bytes)
        ranges = ranges_to_read(log, max(offset, log.compacted_end), max_bytes)
        return Loaded(ranges, await self.load(log, ranges) if ranges else ())

    async def read_segments(
        self, partition: Partition, segments: Sequence[SegmentRef], offset: int, max_bytes: int
    ) -> Loaded:
        """From these segments, and on into the ranges behind them where those are in memory."""
        log = partition.log
        version, ranges_begin, reaches_ranges = (
            log.version,
            log.compacted_end,
            segments[-1] is log.segments[-1],
        )
        near_tail = log.readable_bytes(offset) <= self._near_tail_bytes
        try:
            loaded = await self._segments.load(
                partition.folder, segments, offset, max_bytes, near_tail=near_tail
            )
        except NotFound as error:
            raise _old_list(error) from error
        places: list[Place] = [each.window for each in loaded]
        chunks = [each.data for each in loaded]
        last = loaded[-1].window
        left_bytes = max_bytes - sum(chunk.nbytes for chunk in chunks)
        if (
            left_bytes > 0
            and reaches_ranges
            and last.segment is segments[-1]
            and last.ends_segment
            and log.version == version
        ):
            ranges = ranges_to_read(log, ranges_begin, left_bytes)
            at_hand = self.load_nowait(ranges)
            if at_hand:
                places += ranges
                chunks += at_hand
        return Loaded(places, chunks)

    async def offset_before(self, partition: Partition, segment: SegmentRef, timestamp_ms: int) -> int:
        """Where in a segment to begin looking for a time. Raises like `read`."""
        near_tail = partition.log.readable_bytes(segment.name.base_offset) <= self._near_tail_bytes
        try:
            return await self._segments.offset_before(
                partition.folder, segment, timestamp_ms, near_tail=near_tail
            )
        except NotFound as error:
            raise _old_list(error) from error

    async def load(self, log: PartitionLog, ranges: Sequence[LogRange]) -> list[memoryview]:
        """The bytes of the ranges; what follows them is read ahead. Raises Moved, Unavailable, Corrupt."""
        near_tail = log.readable_bytes(ranges[0].base_offset) <= self._near_tail_bytes
        if not near_tail:
            for following in ranges_to_read(log, ranges[-1].end_offset, self._read_ahead_bytes):
                self._cold.read_ahead(_key(following), following.position, following.size_bytes)
        chunks: dict[int, memoryview] = {}

        async def load(index: int) -> None:
            found = ranges[index]
            chunk = self._tail.get(
                found.session, found.seq, position=found.position, size_bytes=found.size_bytes
            )
            if chunk is None:
                chunk = await self._read_cold(found, near_tail=near_tail)
            chunks[index] = chunk

        try:
            await for_each(range(len(ranges)), load, at_once_max=_LOADS_AT_ONCE_MAX)
        except NotFound as error:
            raise _old_list(error) from error
        return [chunks[index] for index in range(len(ranges))]

    async def _read_cold(self, found: LogRange, *, near_tail: bool) -> memoryview:
        try:
            chunk = await self._cold.read(_key(found), found.position, found.size_bytes, near_tail=near_tail)
            check_place(found, chunk)
        except Corrupt as error:
            if await self._is_void(found):
                raise NotFound(
                    f"{_key(found)} is gone, a seal took its place", reason=Reason.NO_SUCH_OBJECT
                ) from error
            raise
        return chunk

    async def _is_void(self, found: LogRange) -> bool:
        """Whether a sealer that was slow took the place after it had been collected."""
        there = await read_chain_object(self._store, found.session, found.seq)
        return isinstance(there, Seal) and await is_before_start(self._store, found.session, found.seq)


def _key(found: LogRange) -> str:
    return chain_object_key(found.session, found.seq)


def _old_list(error: NotFound) -> Moved:
    return Moved(f"the list of objects is old: {error.message}")
