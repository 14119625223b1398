"""Reads of chain objects that are not in the tail cache: in blocks, cached, each read once at a time.

Owns: the block cache, single flight, the bounds of parallel GETs, read-ahead. Does not own: what a fetch
needs.
Rules: 1 an object is read in blocks of fixed size, so that the partitions in it share a GET; 2 readers near
the end of the log have GETs of their own: a catch-up consumer can't starve the tail (design section 8); 3
the cache is bounded by bytes, the least recently used goes first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from libs.concurrency.single_flight import SingleFlight
from libs.model.errors import Corrupt, KafscaleError
from libs.model.ids import ChainSeq, SessionId
from libs.objectstore.port import ObjectStore
from libs.segments.keys import chain_object_key
from services.partition_owner.log import LogRange
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


_Block = tuple[SessionId, ChainSeq, int]


class ColdReads:
    """`nursery` outlives the readers."""

    def __init__(self, *, store: ObjectStore, limits: ColdReadLimits, nursery: trio.Nursery) -> None:
        self._store = store
        self._limits = limits
        self._nursery = nursery
        self._blocks: OrderedDict[_Block, bytes] = OrderedDict()
        self._used_bytes = 0
        self._tail: SingleFlight[_Block, bytes] = SingleFlight(nursery, runs_max=limits.tail_gets_max)
        self._cold: SingleFlight[_Block, bytes] = SingleFlight(nursery, runs_max=limits.cold_gets_max)
        self._ahead: set[_Block] = set()
        self._hits = self._misses = self._gets = 0

    async def read(self, found: LogRange, *, near_tail: bool) -> memoryview:
        """The bytes of a range. Raises NotFound (no such object), Unavailable, Corrupt (it is too short)."""
        size, end = self._limits.block_bytes, found.position + found.size_bytes
        numbers = range(found.position // size, (end - 1) // size + 1)
        blocks: dict[int, bytes] = {}

        async def read(number: int) -> None:
            blocks[number] = await self._block((found.session, found.seq, number), near_tail=near_tail)

        await for_each(numbers, read, at_once_max=self._limits.cold_gets_max)
        begin = found.position - numbers[0] * size
        if len(numbers) == 1:
            view = memoryview(blocks[numbers[0]])[begin : begin + found.size_bytes]
        else:
            joined = b"".join(blocks[number] for number in numbers)
            view = memoryview(joined)[begin : begin + found.size_bytes]
        if view.nbytes != found.size_bytes:
            raise Corrupt(
                f"chain object {found.session}/{found.seq} ends before {end}, where a range of its ends"
            )
        return view

    def read_ahead(self, ranges: Sequence[LogRange]) -> None:
        """Begins to read what will be asked for next; errors are left to who asks."""
        size = self._limits.block_bytes
        for found in ranges:
            first, last = found.position // size, (found.position + found.size_bytes - 1) // size
            for number in range(first, last + 1):
                block = (found.session, found.seq, number)
                if len(self._ahead) >= _AHEAD_TASKS_MAX:
                    return
                if block not in self._blocks and block not in self._ahead:
                    self._ahead.add(block)
                    self._nursery.start_soon(self._prefetch, block)

    def statistics(self) -> ColdReadStatistics:
        return ColdReadStatistics(
            used_bytes=self._used_bytes,
            bytes_max=self._limits.cache_bytes_max,
            hits=self._hits,
            misses=self._misses,
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
            self._hits += 1
            self._blocks.move_to_end(block)
            return cached
        self._misses += 1
        flights = self._tail if near_tail else self._cold
        return await flights.run(block, lambda: self._get(block))

    async def _get(self, block: _Block) -> bytes:
        session, seq, number = block
        size = self._limits.block_bytes
        self._gets += 1
        data = await self._store.get(chain_object_key(session, seq), start=number * size, length=size)
        if block not in self._blocks:
            self._blocks[block] = data
            self._used_bytes += len(data)
            while self._used_bytes > self._limits.cache_bytes_max and len(self._blocks) > 1:
                _, evicted = self._blocks.popitem(last=False)
                self._used_bytes -= len(evicted)
        return data
