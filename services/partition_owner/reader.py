"""Gets the bytes of ranges: from the tail cache, else by cold reads.

Owns: where to look first, what counts as the end of the log. Does not own: either cache.
Rules: 1 a reader at the end of the log finds everything in memory and never waits; 2 a range whose object
is gone means that the list of ranges is old: Moved, not Corrupt (design section 3, rule 16).
"""

from collections.abc import Sequence

from libs.model.errors import Moved, NotFound
from services.partition_owner.cold_reads import ColdReads
from services.partition_owner.log import LogRange, PartitionLog
from services.partition_owner.parallel import for_each
from services.partition_owner.read_plan import ranges_to_read
from services.partition_owner.tail_cache import TailCache

_LOADS_AT_ONCE_MAX = 32


class Reader:
    """`load` ranges; `load_nowait` where all of them are in memory."""

    def __init__(
        self, *, tail: TailCache, cold: ColdReads, near_tail_bytes: int, read_ahead_bytes: int
    ) -> None:
        self._tail = tail
        self._cold = cold
        self._near_tail_bytes = near_tail_bytes
        self._read_ahead_bytes = read_ahead_bytes

    @property
    def tail(self) -> TailCache:
        return self._tail

    @property
    def cold(self) -> ColdReads:
        return self._cold

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

    async def load(self, log: PartitionLog, ranges: Sequence[LogRange]) -> list[memoryview]:
        """The bytes of the ranges; what follows them is read ahead. Raises Moved, Unavailable, Corrupt."""
        near_tail = log.readable_bytes(ranges[0].base_offset) <= self._near_tail_bytes
        if not near_tail:
            following = ranges_to_read(log, ranges[-1].end_offset, self._read_ahead_bytes)
            self._cold.read_ahead(following)
        chunks: dict[int, memoryview] = {}

        async def load(index: int) -> None:
            found = ranges[index]
            chunk = self._tail.get(
                found.session, found.seq, position=found.position, size_bytes=found.size_bytes
            )
            if chunk is None:
                chunk = await self._cold.read(found, near_tail=near_tail)
            chunks[index] = chunk

        try:
            await for_each(range(len(ranges)), load, at_once_max=_LOADS_AT_ONCE_MAX)
        except NotFound as error:
            raise Moved(f"the list of objects is old: {error.message}") from error
        return [chunks[index] for index in range(len(ranges))]
