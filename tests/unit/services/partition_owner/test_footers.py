"""What dead and live chains say about a partition, and how many reads it takes."""

from dataclasses import replace

import pytest
import trio

from libs.concurrency.clock import ManualClock
from libs.model.errors import Corrupt, NotFound
from libs.model.ids import ChainSeq
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.index import encode_index
from libs.segments.keys import chain_index_key, chain_object_key, start_marker_key
from libs.segments.seal import encode_seal
from services.partition_owner.footers import FooterReader
from tests.support.segments import SESSION, sample_seal, sample_wal, tp


class CountingStore(MemoryObjectStore):
    """Remembers which objects were read."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.reads: list[str] = []

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self.reads.append(key)
        return await super().get(key, start=start, length=length)

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        self.reads.append(key)
        return await super().get_suffix(key, length)


async def _write_chain(store: MemoryObjectStore, count: int) -> None:
    """`count` objects, and the index over each full block of them."""
    footers = []
    for seq in range(count):
        encoded = sample_wal(seq)
        footers.append(encoded.footer)
        await store.put_if_absent(chain_object_key(SESSION, ChainSeq(seq)), b"".join(encoded.buffers))
        if len(footers) == CHAIN_INDEX_EVERY:
            key = chain_index_key(SESSION, footers[0].seq)
            await store.put_if_absent(key, b"".join(encode_index(footers)))
            footers.clear()


async def _read(store: MemoryObjectStore, from_seq: int, to_seq: int, *, chain_went_on: bool) -> list[int]:
    async with trio.open_nursery() as nursery:
        reader = FooterReader(store=store, cache_bytes_max=1 << 20, gets_max=8, nursery=nursery)
        ranges = await reader.ranges(tp(0), SESSION, from_seq, to_seq, chain_went_on=chain_went_on)
    return [entry.seq for entry in ranges]


async def test_a_position_in_the_middle_of_an_indexed_block_takes_one_read() -> None:
    """A partition that moved on while the chain went on; without it a drain's pause grows with each move."""
    store = CountingStore()
    await _write_chain(store, 2 * CHAIN_INDEX_EVERY)
    assert await _read(store, 70, 90, chain_went_on=True) == list(range(70, 90))
    assert store.reads == [chain_index_key(SESSION, ChainSeq(CHAIN_INDEX_EVERY))]


async def test_where_the_chain_did_not_come_to_its_index_the_objects_are_read() -> None:
    store = CountingStore()
    await _write_chain(store, 100)
    assert await _read(store, 70, 90, chain_went_on=True) == list(range(70, 90))
    assert len(store.reads) == 1 + 20


async def test_the_end_of_a_chain_is_read_without_asking_for_an_index() -> None:
    store = CountingStore()
    await _write_chain(store, 100)
    assert await _read(store, 10, 90, chain_went_on=False) == list(range(10, 90))
    assert len(store.reads) == 1 + (90 - CHAIN_INDEX_EVERY)


async def test_an_index_that_comes_later_is_found() -> None:
    store = CountingStore()
    await _write_chain(store, 100)
    async with trio.open_nursery() as nursery:
        reader = FooterReader(store=store, cache_bytes_max=1 << 20, gets_max=8, nursery=nursery)
        assert len(await reader.ranges(tp(0), SESSION, 70, 80, chain_went_on=True)) == 10
        await _write_chain(store, 2 * CHAIN_INDEX_EVERY)
        store.reads.clear()
        assert len(await reader.ranges(tp(0), SESSION, 80, 120, chain_went_on=True)) == 40
        assert store.reads == [chain_index_key(SESSION, ChainSeq(CHAIN_INDEX_EVERY))]


async def test_what_was_read_ahead_is_not_read_again() -> None:
    store = CountingStore()
    await _write_chain(store, 4 * CHAIN_INDEX_EVERY + 5)
    async with trio.open_nursery() as nursery:
        reader = FooterReader(store=store, cache_bytes_max=1 << 20, gets_max=8, nursery=nursery)
        await reader.read_ahead(SESSION, CHAIN_INDEX_EVERY + 3, 4 * CHAIN_INDEX_EVERY)
        assert len(store.reads) == 3
        await reader.ranges(tp(0), SESSION, CHAIN_INDEX_EVERY + 3, 4 * CHAIN_INDEX_EVERY)
        assert len(store.reads) == 3


async def test_reading_ahead_ends_before_it_would_drive_out_what_it_read() -> None:
    store = CountingStore()
    await _write_chain(store, 6 * CHAIN_INDEX_EVERY)
    async with trio.open_nursery() as nursery:
        reader = FooterReader(store=store, cache_bytes_max=30_000, gets_max=1, nursery=nursery)
        await reader.read_ahead(SESSION, 0, 6 * CHAIN_INDEX_EVERY)
        ahead = len(store.reads)
        assert 0 < ahead < 6
        await reader.ranges(tp(0), SESSION, 0, ahead * CHAIN_INDEX_EVERY)
        assert len(store.reads) == ahead


async def test_a_seal_that_came_after_the_place_was_collected_is_no_end() -> None:
    """A sealer that was slow took a place that collection had freed: the list is old, nothing is damaged."""
    store = CountingStore()
    await _write_chain(store, 90)
    await store.delete([chain_object_key(SESSION, ChainSeq(70))])
    seal = encode_seal(replace(sample_seal(), session=SESSION, seq=ChainSeq(70)))
    await store.put_if_absent(chain_object_key(SESSION, ChainSeq(70)), seal)
    with pytest.RaisesGroup(pytest.RaisesExc(Corrupt, match="before its end"), flatten_subgroups=True):
        await _read(store, 66, 90, chain_went_on=False)
    await store.put_if_absent(start_marker_key(SESSION, 71), b"")
    with pytest.RaisesGroup(pytest.RaisesExc(NotFound, match="took its place"), flatten_subgroups=True):
        await _read(store, 66, 90, chain_went_on=False)
