"""Reads what dead chains say about a partition: index objects, and footers where there is no index.

Owns: the shared cache of both, one read a chain object for any number of partitions. Does not own: where a
chain ends (sealing.py), what is rebuilt (opening.py).
Rules: 1 of an index only what lies before the position's end counts, which is never beyond the chain's
(design section 3, rule 6); 2 never a LIST: keys are computed; 3 the cache is bounded by bytes, the least
recently used goes first.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio

from libs.concurrency.single_flight import SingleFlight
from libs.model.errors import Corrupt, KafscaleError, NotFound, Reason
from libs.model.ids import ChainSeq, SessionId, TopicPartition
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.objectstore.port import ObjectStore
from libs.segments.envelope import NeedMore
from libs.segments.index import IndexedRange, IndexHead, index_start, parse_index_head, parse_index_part
from libs.segments.keys import chain_index_key, chain_object_key
from libs.segments.wal import WalFooter, WalRange
from services.partition_owner.byte_lru import ByteLru
from services.partition_owner.chain_writer import read_chain_object
from services.partition_owner.collection.chains import is_before_start
from services.partition_owner.parallel import for_each

_RANGE_BYTES = 400  # of one range with its run in memory, roughly
_FOOTER_BYTES = 100


class _Index:
    """An index object with its table read; parts are parsed when a partition asks."""

    __slots__ = ("_data", "_head")

    def __init__(self, head: IndexHead, data: bytes) -> None:
        self._head = head
        self._data = data

    @property
    def size_bytes(self) -> int:
        return len(self._data) + len(self._head.parts) * _RANGE_BYTES

    def ranges(self, tp: TopicPartition) -> Sequence[IndexedRange]:
        part = self._head.parts.get(tp)
        if part is None:
            return ()
        return parse_index_part(
            self._head, tp, memoryview(self._data)[part.position : part.position + part.size_bytes]
        )


_Footer = Mapping[TopicPartition, list[WalRange]]


class FooterReader:
    """Shared by all partitions that are opened. `nursery` outlives the callers."""

    def __init__(
        self, *, store: ObjectStore, cache_bytes_max: int, gets_max: int, nursery: trio.Nursery
    ) -> None:
        self._store = store
        self._gets_max = gets_max
        self._read_ahead_bytes_max = cache_bytes_max // 2
        self._cache: ByteLru[str, _Index | _Footer] = ByteLru(cache_bytes_max)
        self._flights: SingleFlight[str, _Index | _Footer | None] = SingleFlight(nursery, runs_max=gets_max)

    def remember(self, footer: WalFooter) -> None:
        """A footer that somebody read anyway."""
        self._put(chain_object_key(footer.session, footer.seq), _grouped(footer))

    async def read_ahead(self, session: SessionId, from_seq: int, to_seq: int) -> None:
        """Reads the indexes over chain objects [from_seq, to_seq), as far as there are any, into the cache.

        An aid that fails in silence: `ranges` reads again what it needs. It ends before what it read first
        would leave the cache again.
        """
        blocks = range(index_start(from_seq), to_seq - CHAIN_INDEX_EVERY + 1, CHAIN_INDEX_EVERY)
        left_bytes = self._read_ahead_bytes_max

        async def read(block: int) -> None:
            nonlocal left_bytes
            if left_bytes > 0:
                index = await self._cached(chain_index_key(session, block), session, block)
                left_bytes -= index.size_bytes if isinstance(index, _Index) else 0

        with suppress(KafscaleError):
            await for_each(blocks, read, at_once_max=self._gets_max)

    async def ranges(
        self,
        tp: TopicPartition,
        session: SessionId,
        from_seq: int,
        to_seq: int,
        *,
        chain_went_on: bool = False,
    ) -> list[IndexedRange]:
        """The partition's ranges in chain objects [from_seq, to_seq), in chain order.

        `chain_went_on`: the chain may be longer, so that an index may cover the objects up to `to_seq` too.
        Raises NotFound(NO_SUCH_OBJECT) where an object is gone, Corrupt where one is damaged, Unavailable.
        """
        found: dict[int, Sequence[IndexedRange]] = {}
        blocks = range(index_start(from_seq), to_seq, CHAIN_INDEX_EVERY)

        async def read(block: int) -> None:
            found[block] = await self._block(
                tp, session, block, from_seq, to_seq, chain_went_on=chain_went_on
            )

        await for_each(blocks, read, at_once_max=self._gets_max)
        return [entry for block in blocks for entry in found[block] if from_seq <= entry.seq < to_seq]

    async def _block(
        self,
        tp: TopicPartition,
        session: SessionId,
        first: int,
        from_seq: int,
        to_seq: int,
        *,
        chain_went_on: bool,
    ) -> Sequence[IndexedRange]:
        if first + CHAIN_INDEX_EVERY <= to_seq or chain_went_on:
            index = await self._cached(chain_index_key(session, first), session, first)
            if isinstance(index, _Index):
                return index.ranges(tp)
        found: dict[int, list[WalRange]] = {}
        seqs = range(max(first, from_seq), min(first + CHAIN_INDEX_EVERY, to_seq))

        def take(seq: int, footer: _Index | _Footer | None) -> None:
            assert footer is not None and not isinstance(footer, _Index)  # noqa: PT018 - one thing: its type
            found[seq] = footer.get(tp, [])

        async def read(seq: int) -> None:
            take(seq, await self._cached(chain_object_key(session, seq), session, seq))

        missing: list[int] = []
        for seq in seqs:  # without a task each: all partitions of a dead owner read the same ones
            footer = self._cache.get(chain_object_key(session, seq))
            if footer is None:
                missing.append(seq)
            else:
                take(seq, footer)
        await for_each(missing, read, at_once_max=self._gets_max)
        return [IndexedRange(ChainSeq(seq), each) for seq in seqs for each in found[seq]]

    async def _cached(self, key: str, session: SessionId, seq: int) -> _Index | _Footer | None:
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        is_index = key == chain_index_key(session, seq)
        read = self._read_index if is_index else self._read_footer
        value = await self._flights.run(key, lambda: read(session, seq))
        if value is not None:  # an index of a live chain may yet come
            self._put(key, value)
        return value

    async def _read_index(self, session: SessionId, first: int) -> _Index | None:
        """None where the owner did not come to writing it."""
        try:
            data = await self._store.get(chain_index_key(session, first))
        except NotFound:
            return None
        head = parse_index_head(data)
        if isinstance(head, NeedMore) or (head.session, head.first_seq) != (session, first):
            raise Corrupt(f"the chain index of {session} at {first} is another one or cut off")
        return _Index(head, data)

    async def _read_footer(self, session: SessionId, seq: int) -> _Footer:
        found = await read_chain_object(self._store, session, ChainSeq(seq))
        if found is None:
            raise NotFound(f"the chain object {session}/{seq} is gone", reason=Reason.NO_SUCH_OBJECT)
        if not isinstance(found, WalFooter):
            if await is_before_start(self._store, session, ChainSeq(seq)):  # its sealer was slow
                raise NotFound(
                    f"the chain object {session}/{seq} is gone, a seal took its place",
                    reason=Reason.NO_SUCH_OBJECT,
                )
            raise Corrupt(f"the chain of {session} has a seal at {seq}, before its end")
        return _grouped(found)

    def _put(self, key: str, value: _Index | _Footer) -> None:
        if isinstance(value, _Index):
            size_bytes = value.size_bytes
        else:
            size_bytes = _FOOTER_BYTES + sum(len(each) for each in value.values()) * _RANGE_BYTES
        self._cache.put(key, value, size_bytes)


def _grouped(footer: WalFooter) -> _Footer:
    grouped: dict[TopicPartition, list[WalRange]] = {}
    for each in footer.ranges:
        grouped.setdefault(each.tp, []).append(each)
    return grouped
