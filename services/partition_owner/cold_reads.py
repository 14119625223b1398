"""Reads of objects that are not in the tail cache: in blocks, cached, each read once at a time.

Owns: the block cache, single flight, the bounds of parallel GETs, read-ahead. Does not own: what a fetch
needs.
Rules: 1 an object is read in blocks of fixed size, so that the partitions in it share a GET; 2 readers near
the end of the log have GETs of their own: a catch-up consumer can't starve the tail (design section 8); 3
the cache is bounded by bytes, the least recently used goes first.
"""

from dataclasses import dataclass

import trio

from libs.concurrency.single_flight import SingleFlight
from libs.model.errors import Corrupt, KafscaleError
from libs.objectstore.port import ObjectReader
from services.partition_owner.byte_lru import ByteLru
from services.partition_owner.parallel import for_each

_AHEAD_TASKS_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdReadLimits:
    block_bytes: int
    cache_bytes_max: int
    tail_gets_max: int
    cold_gets_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdReadStatistics:
    used_bytes: int
    bytes_max: int
    hits: int
    misses: int
    gets: int
    reading: int


_Block = tuple[str, int]


class ColdReads:
    """`nursery` outlives the readers."""

    def __init__(self, *, store: ObjectReader, limits: ColdReadLimits, nursery: trio.Nursery) -> None:
        self._store = store
        self._limits = limits
        self._nursery = nursery
        self._blocks: ByteLru[_Block, bytes] = ByteLru(limits.cache_bytes_max)
        self._tail: SingleFlight[_Block, bytes] = SingleFlight(nursery, runs_max=limits.tail_gets_max)
        self._cold: SingleFlight[_Block, bytes] = SingleFlight(nursery, runs_max=limits.cold_gets_max)
        self._ahead: set[_Block] = set()
        self._gets = 0

    async def read(self, key: str, position: int, size_bytes: int, *, near_tail: bool) -> memoryview:
        """Part of an object. Raises NotFound (no such object), Unavailable, Corrupt (it is too short)."""
        block_bytes, end = self._limits.block_bytes, position + size_bytes
        numbers = range(position // block_bytes, (end - 1) // block_bytes + 1)
        blocks: dict[int, bytes] = {}

        async def read(number: int) -> None:
            blocks[number] = await self._block((key, number), near_tail=near_tail)

        await for_each(numbers, read, at_once_max=self._limits.cold_gets_max)
        views = [memoryview(blocks[number]) for number in numbers]
        views[-1] = views[-1][: end - numbers[-1] * block_bytes]
        views[0] = views[0][position - numbers[0] * block_bytes :]
        view = views[0] if len(views) == 1 else memoryview(b"".join(views))
        if view.nbytes != size_bytes:
            raise Corrupt(f"the object {key} ends before {end}, where a part of it that is needed ends")
        return view

    def read_ahead(self, key: str, position: int, size_bytes: int) -> None:
        """Begins to read what will be asked for next; errors are left to who asks."""
        block_bytes = self._limits.block_bytes
        for number in range(position // block_bytes, (position + size_bytes - 1) // block_bytes + 1):
            block = (key, number)
            if len(self._ahead) >= _AHEAD_TASKS_MAX:
                return
            if block not in self._blocks and block not in self._ahead:
                self._ahead.add(block)
                self._nursery.start_soon(self._prefetch, block)

    def statistics(self) -> ColdReadStatistics:
        return ColdReadStatistics(
            used_bytes=self._blocks.used_bytes,
            bytes_max=self._blocks.bytes_max,
            hits=self._blocks.hits,
            misses=self._blocks.misses,
            gets=self._gets,
            reading=self._tail.statistics().runs + self._cold.statistics().runs,
        )

    async def _prefetch(self, block: _Block) -> None:
        try:
            await self._block(block, near_tail=False)
        except KafscaleError:
            return  # whoever needs it will read it again and be told
        finally:
            self._ahead.discard(block)

    async def _block(self, block: _Block, *, near_tail: bool) -> bytes:
        cached = self._blocks.get(block)
        if cached is not None:
            return cached
        flights = self._tail if near_tail else self._cold
        return await flights.run(block, lambda: self._get(block))

    async def _get(self, block: _Block) -> bytes:
        key, number = block
        size = self._limits.block_bytes
        self._gets += 1
        data = await self._store.get(key, start=number * size, length=size)
        self._blocks.put(block, data, len(data))
        return data
