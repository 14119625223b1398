"""Verifies one chain: every object, index and marker, their order, and what they say about partitions.

Owns: reading a chain and its runs. Does not own: who needs it (partitions.py), what may go (garbage.py).
Rules (design section 3): 1 the chain is what follows its greatest marker without a gap, up to a seal; 2 a gap
is looked at once more: a LIST is no snapshot; data more than W beyond it can't be; 3 an object that went
away meanwhile was collected: then a marker beyond it is there; 4 within one epoch a partition's offsets
follow each other; 5 what an index covers was there.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, SessionId, TopicPartition
from libs.model.limits import CHAIN_IN_FLIGHT_MAX, CHAIN_INDEX_EVERY
from libs.objectstore.port import ObjectInfo
from libs.records import verify_stored
from libs.segments.envelope import NeedMore
from libs.segments.index import IndexedRange, parse_index, parse_index_head
from libs.segments.keys import (
    ChainPosition,
    chain_index_key,
    chain_object_key,
    parse_chain_index_key,
    parse_chain_object_key,
    parse_start_marker_key,
    start_markers_prefix,
)
from libs.segments.layout import SUFFIX_BYTES_HINT
from libs.segments.marker import greatest_start, parse_start_marker
from libs.segments.seal import Seal, classify_chain_object
from libs.segments.wal import WalFooter
from tools.bucket.work import Work

_BLOCK = CHAIN_INDEX_EVERY
GIVEN_ID_MAX = 2**62
"""Producer ids are given in order from 0: one above was made up by a client, and says nothing about the
next one."""


class RunKey(NamedTuple):
    tp: TopicPartition
    leader_epoch: int


@dataclass(slots=True, kw_only=True)
class Run:
    """Records of one partition that one session wrote under one epoch: offsets [base, end) in objects
    [from_seq, to_seq).
    """

    session: SessionId
    leader_epoch: int
    from_seq: int
    to_seq: int
    base_offset: int
    end_offset: int
    boundaries: list[tuple[int, int]] = field(default_factory=list)
    """Where wanted: (base offset, seq) of each range."""


@dataclass(slots=True, kw_only=True)
class Chain:
    """What was found of a chain: its data is [start, end); `sealed` says that it is so for ever."""

    session: SessionId
    start: int
    end: int = 0
    sealed: bool = False
    runs: dict[RunKey, Run] = field(default_factory=dict)
    producer_id_max: int = -1


async def list_start(work: Work, session: SessionId) -> ChainSeq:
    """The greatest start marker, 0 without any."""
    return greatest_start([info.key async for info in work.objects(start_markers_prefix(session))])


async def verify_chain(
    work: Work, session: SessionId, objects: list[ObjectInfo], *, with_boundaries: bool = False
) -> Chain:
    """Reads the chain whose LIST is `objects`."""
    start = greatest_start(info.key for info in objects)
    chain = Chain(session=session, start=start, end=start)
    places: dict[int, ObjectInfo] = {}
    indexes: dict[int, ObjectInfo] = {}
    async with trio.open_nursery() as nursery:
        for info in objects:
            place, index = parse_chain_object_key(info.key), parse_chain_index_key(info.key)
            if place is not None:
                work.count("chain object", info)
                places[place.seq] = info
            elif index is not None:
                work.count("chain index", info)
                indexes[index.seq] = info
            elif parse_start_marker_key(info.key) is not None:
                work.count("start marker", info)
                nursery.start_soon(_verify_marker, work, info)
            else:
                work.count("foreign", info)
    await _Reading(work, chain, places, indexes, with_boundaries=with_boundaries).run()
    work.done(objects)
    return chain


async def _verify_marker(work: Work, info: ObjectInfo) -> None:
    data = await work.get(info.key)
    if data is None:
        return
    try:
        marker = parse_start_marker(data)
    except Corrupt as error:
        work.error("corrupt", info.key, error.message)
    else:
        if (marker.session, marker.seq) != parse_start_marker_key(info.key):
            work.error("corrupt", info.key, f"it says {marker.session}/{marker.seq}")


class _Reading:
    """Reads a chain block by block, each block's objects at the same time."""

    def __init__(
        self,
        work: Work,
        chain: Chain,
        places: dict[int, ObjectInfo],
        indexes: dict[int, ObjectInfo],
        *,
        with_boundaries: bool,
    ) -> None:
        self._work = work
        self._chain = chain
        self._places = places
        self._indexes = indexes
        self._with_boundaries = with_boundaries
        self._over = False
        """The end was met: what follows is in flight or void."""
        self._blind = False
        """An object could not be read: what it held is missing from the runs."""

    async def run(self) -> None:
        blocks = sorted({seq - seq % _BLOCK for seq in (*self._places, *self._indexes)})
        for first in blocks:
            await self._block(first)
        if self._indexes:
            await self._check_indexed(max(self._indexes))

    async def _check_indexed(self, first: int) -> None:
        """What an index covers was durable before it was written: a chain that ends earlier lost its end."""
        chain = self._chain
        covered = first + CHAIN_INDEX_EVERY
        if chain.end >= covered:
            return
        key = chain_object_key(chain.session, chain.end)
        if not chain.sealed and await self._work.head(key) is not None:
            return  # written since the LIST
        if await list_start(self._work, chain.session) <= chain.end:
            self._work.error("missing", key, f"an index covers it and all up to {covered}")

    async def _block(self, first: int) -> None:
        found: dict[int, WalFooter | Seal | None] = {}
        async with trio.open_nursery() as nursery:
            for seq in range(first, first + _BLOCK):
                if seq in self._places:
                    nursery.start_soon(self._read, seq, self._places[seq], found)
        for seq in sorted(found):
            await self._follow(seq, found[seq])
        info = self._indexes.get(first)
        if info is not None:
            await self._index(first, info, found)

    async def _read(self, seq: int, info: ObjectInfo, found: dict[int, WalFooter | Seal | None]) -> None:
        """`found` gets nothing where the object is gone, None where it can't be read."""
        try:
            read = await read_place(self._work, self._chain.session, seq, info.size_bytes)
        except Corrupt as error:
            self._work.error("corrupt", info.key, error.message)
            found[seq] = None
            return
        if read is not None:
            found[seq] = read

    async def _follow(self, seq: int, what: WalFooter | Seal | None) -> None:
        """Takes the object at `seq` for the chain's next, if it is; None: it can't be read."""
        chain = self._chain
        while not self._over and seq > chain.end:
            await self._look_again()
        if self._over:
            if not chain.sealed and isinstance(what, WalFooter):
                await self._check_window(seq)
        elif seq < chain.end:
            return  # below the start
        elif isinstance(what, Seal):
            chain.sealed = self._over = True
        else:
            chain.end = seq + 1
            if what is None:
                self._blind = True
            else:
                self._take(what)

    async def _look_again(self) -> None:
        """The LIST had nothing at the chain's end, and something beyond it."""
        chain = self._chain
        key = chain_object_key(chain.session, chain.end)
        info = await self._work.head(key)
        if info is not None:
            found: dict[int, WalFooter | Seal | None] = {}
            await self._read(chain.end, info, found)
            if chain.end in found:
                await self._follow(chain.end, found[chain.end])
                return
        start = await list_start(self._work, chain.session)
        if start > chain.end:  # collected meanwhile
            chain.start = chain.end = start
            chain.runs.clear()
            return
        self._over = True

    async def _check_window(self, seq: int) -> None:
        """Data beyond the first missing place: at most W are in flight, else acknowledged data is lost."""
        chain = self._chain
        if seq < chain.end + CHAIN_IN_FLIGHT_MAX:
            return
        key = chain_object_key(chain.session, chain.end)
        if await self._work.head(key) is None and await list_start(self._work, chain.session) <= chain.end:
            self._work.error(
                "missing", key, f"data follows it at {seq}, and no marker says that it may be gone"
            )

    def _take(self, footer: WalFooter) -> None:
        chain = self._chain
        for each in footer.ranges:
            for producer in each.producer_runs:
                if producer.producer_id < GIVEN_ID_MAX:
                    chain.producer_id_max = max(chain.producer_id_max, producer.producer_id)
            key = RunKey(each.tp, each.leader_epoch)
            run = chain.runs.get(key)
            if run is None:
                run = chain.runs[key] = Run(
                    session=chain.session,
                    leader_epoch=each.leader_epoch,
                    from_seq=footer.seq,
                    to_seq=footer.seq,
                    base_offset=each.base_offset,
                    end_offset=each.base_offset,
                )
            elif run.end_offset != each.base_offset and not (
                self._blind and run.end_offset < each.base_offset
            ):
                self._work.error(
                    "offsets",
                    f"{chain_object_key(chain.session, footer.seq)}",
                    f"{each.tp} goes on at {each.base_offset} under epoch {each.leader_epoch},"
                    f" the chain had come to {run.end_offset}",
                )
            run.to_seq, run.end_offset = footer.seq + 1, each.end_offset
            if self._with_boundaries:
                run.boundaries.append((each.base_offset, footer.seq))

    async def _index(self, first: int, info: ObjectInfo, found: dict[int, WalFooter | Seal | None]) -> None:
        data = await self._work.get(info.key)
        if data is None:
            return
        try:
            head, parts = parse_index_head(data), parse_index(data)
        except Corrupt as error:
            self._work.error("corrupt", info.key, error.message)
            return
        assert not isinstance(head, NeedMore), "parse_index takes whole indexes only"
        if (head.session, head.first_seq) != (self._chain.session, first):
            self._work.error("corrupt", info.key, f"it says {head.session}/{head.first_seq}")
            return
        indexed: dict[int, list[IndexedRange]] = {}
        for ranges in parts.values():
            for each in ranges:
                indexed.setdefault(each.seq, []).append(each)
        for seq, footer in found.items():
            # What is beyond the chain's end doesn't count (rule 6).
            if seq >= self._chain.end or not isinstance(footer, WalFooter):
                continue
            listed = sorted((each.wal_range for each in indexed.get(seq, [])), key=lambda one: one.position)
            if tuple(listed) != footer.ranges:
                self._work.error("index", info.key, f"it says something else than the object at {seq}")


async def read_place(work: Work, session: SessionId, seq: int, size_bytes: int) -> WalFooter | Seal | None:
    """What holds a place, its records read too where it is sampled; None for nothing. Raises Corrupt."""
    key, at = chain_object_key(session, seq), ChainPosition(session, ChainSeq(seq))
    sampled = work.sampled(key)
    length = size_bytes if sampled else min(size_bytes, SUFFIX_BYTES_HINT)
    while True:
        read = await work.get_suffix(key, max(1, length))
        if read is None:
            return None
        suffix, whole_bytes = read
        what = classify_chain_object(suffix, whole_bytes, at=at)
        if isinstance(what, NeedMore):
            length = what.size_bytes
            continue
        if isinstance(what, WalFooter) and sampled:
            view = memoryview(suffix)
            for each in what.ranges:
                batches = verify_stored(
                    view[each.position : each.position + each.size_bytes],
                    base_offset=each.base_offset,
                    record_count=each.record_count,
                    leader_epoch=each.leader_epoch,
                )
                latest = max(batch.max_timestamp_ms for batch in batches)
                if latest > each.max_timestamp_ms:
                    raise Corrupt(
                        f"{each.tp} has a record of {latest}, its range says {each.max_timestamp_ms}"
                    )
        return what


def index_key_of(session: SessionId, seq: int) -> str:
    """The index over the place `seq`."""
    return chain_index_key(session, seq - seq % CHAIN_INDEX_EVERY)
