"""Reads of segments: where they end, what they cost, and what they make of what is gone or damaged."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from libs.model.errors import Corrupt, Moved, Reason
from libs.objectstore.memory import MemoryObjectStore
from libs.records import iter_batches
from libs.segments.keys import chain_object_key, segment_index_key, segment_key
from services.partition_owner.fetching import FetchedPart
from services.partition_owner.list_offsets import EARLIEST, MAX_TIMESTAMP
from tests.unit.services.partition_owner.compacted import FOLDER, SESSION, Compacted, Served


class WatchedStore(MemoryObjectStore):
    """Another store's objects: counts GETs, and holds them back while it is told to."""

    def __init__(self, other: MemoryObjectStore) -> None:
        self.__dict__.update(other.__dict__)
        self.gets: list[str] = []
        self.go = trio.Event()
        self.go.set()

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self.gets.append(key)
        await self.go.wait()
        return await super().get(key, start=start, length=length)


async def made_of(ranges: int, *, value_bytes: int = 40, in_memory: bool = False) -> Compacted:
    """Ranges of two batches of one record each, a record a ms."""
    made = Compacted()
    for at in range(ranges):
        await made.append([([2 * at], value_bytes), ([2 * at + 1], value_bytes)], in_memory=in_memory)
    return made


@asynccontextmanager
async def serving(made: Compacted, **options: int) -> AsyncIterator[tuple[Served, WatchedStore]]:
    store = WatchedStore(made.store)
    async with trio.open_nursery() as nursery:
        yield Served(made, nursery, store=store, **options), store
        nursery.cancel_scope.cancel()


def offsets_of(found: FetchedPart) -> list[int]:
    assert found.error is None
    return [each.base_offset for each in iter_batches(b"".join(found.records))]


async def drop(made: Compacted, keys: Sequence[str]) -> None:
    await made.store.delete(list(keys))


async def test_a_fetch_goes_on_over_segments_and_into_ranges_in_memory() -> None:
    made = await made_of(6, in_memory=True)
    await made.compact(8, batches_each=3)
    async with serving(made) as (served, _):
        assert offsets_of(await served.fetch(1)) == list(range(1, 12))
        assert offsets_of(await served.fetch(8)) == [8, 9, 10, 11]


async def test_a_fetch_ends_with_the_segments_where_the_ranges_are_not_in_memory() -> None:
    """The next one reads them: a fetch that waits for two places is as slow as the slower one."""
    made = await made_of(6)
    await made.compact(8, batches_each=3)
    async with serving(made) as (served, _):
        assert offsets_of(await served.fetch(1)) == list(range(1, 8))


@pytest.mark.parametrize("batches_each", [1, 2, 3])
async def test_what_does_not_fit_is_not_jumped_over(batches_each: int) -> None:
    """Small batches behind a large one that is left out would leave a hole."""
    made = Compacted()
    await made.append([([0], 10), ([1], 400), ([2], 10)], in_memory=True)
    await made.append([([3], 10)], in_memory=True)
    await made.append([([4], 10)], in_memory=True)
    await made.compact(3, batches_each=batches_each)
    small = len(made.batches[0].data)
    async with serving(made) as (served, _):
        assert offsets_of(await served.fetch(0, 3 * small)) == [0]
        assert offsets_of(await served.fetch(1, 3 * small)) == [1]
        assert offsets_of(await served.fetch(2, 3 * small)) == [2, 3, 4]


async def test_offsets_between_segments_are_answered_with_what_follows() -> None:
    made = await made_of(6)
    manifest = await made.compact(8, batches_each=2)
    await made.commit(replace(manifest, n=1, segments=(manifest.segments[0], manifest.segments[2])))
    async with serving(made) as (served, _):
        assert offsets_of(await served.fetch(2)) == [4, 5]
        assert offsets_of(await served.fetch(6)) == [8, 9, 10, 11]


async def test_a_batch_that_begins_below_the_log_start_is_returned() -> None:
    made = Compacted()
    await made.append([([0, 1, 2], 10), ([3], 10)])
    await made.compact(4)
    made.log.advance_log_start(2)
    async with serving(made) as (served, _):
        found = await served.fetch(2)
        assert offsets_of(found) == [0, 3]
        assert found.log_start_offset == 2
        below = await served.fetch(1)
        assert below.error is not None
        assert below.error.reason is Reason.OFFSET_OUT_OF_RANGE
        assert (await served.find(EARLIEST)).offset == 2
        assert (await served.find(0)).offset == 2
        assert (await served.find(MAX_TIMESTAMP)).offset == 3


async def test_an_index_is_read_once_for_all_and_kept() -> None:
    made = await made_of(4)
    manifest = await made.compact(8, batches_each=8)
    async with serving(made) as (served, store):
        async with trio.open_nursery() as nursery:
            for offset in range(8):
                nursery.start_soon(served.fetch, offset)
        await served.fetch(3)
        index_key = segment_index_key(FOLDER, manifest.segments[0].name)
        assert store.gets.count(index_key) == 1
        statistics = served.reader.segments.statistics()
        assert statistics.used_bytes == manifest.segments[0].index_bytes
        assert statistics.hits >= 1


async def test_indexes_are_bounded() -> None:
    made = await made_of(60)
    await made.compact(120, batches_each=10)
    async with serving(made) as (served, _):
        for offset in range(0, 120, 10):
            await served.fetch(offset, 1)
            assert served.reader.segments.statistics().used_bytes <= 1000


async def test_what_follows_is_read_ahead_across_the_end_of_a_segment() -> None:
    made = await made_of(20)
    manifest = await made.compact(40, batches_each=10)
    async with serving(made, read_ahead_bytes=700) as (served, store):
        await served.fetch(6, 250)
        await wait_all_tasks_blocked()
        second = manifest.segments[1].name
        assert segment_key(FOLDER, second) in store.gets
        assert segment_index_key(FOLDER, second) in store.gets
        before = len(store.gets)
        assert offsets_of(await served.fetch(10, 100)) == [10]
        assert len(store.gets) == before


async def test_an_object_that_is_gone_means_an_old_list() -> None:
    made = await made_of(4)
    manifest = await made.compact(4, batches_each=4)
    name = manifest.segments[0].name
    await drop(made, [segment_key(FOLDER, name)])
    async with serving(made) as (served, _):
        assert isinstance((await served.fetch(0)).error, Moved)
        with pytest.raises(Moved):
            await served.find(1)


@pytest.mark.parametrize("offset", [0, 5], ids=["from a segment", "from a range"])
async def test_what_was_collected_meanwhile_is_read_from_the_newer_list(offset: int) -> None:
    """The reader's list was good when it was taken: its objects went because they were compacted again."""
    made = await made_of(4)
    first = await made.compact(4, batches_each=2)
    async with serving(made) as (served, store):
        store.go = trio.Event()
        answers: list[FetchedPart] = []

        async def fetch() -> None:
            answers.append(await served.fetch(offset))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch)
            await wait_all_tasks_blocked()
            assert store.gets
            merged = [await made.write_segment(made.batches)]
            await made.commit(replace(first, n=1, end_offset=8, segments=tuple(merged)))
            for segment in first.segments:
                await drop(made, [segment_key(FOLDER, segment.name), segment_index_key(FOLDER, segment.name)])
            await drop(made, [chain_object_key(SESSION, seq) for seq in range(4)])
            store.go.set()
        assert offsets_of(answers[0]) == list(range(offset, 8))


async def test_a_log_start_that_moves_while_it_is_read_is_told() -> None:
    made = await made_of(4)
    await made.compact(8)
    async with serving(made) as (served, store):
        store.go = trio.Event()
        answers: list[FetchedPart] = []

        async def fetch() -> None:
            answers.append(await served.fetch(0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch)
            await wait_all_tasks_blocked()
            made.log.advance_log_start(3)
            store.go.set()
        assert answers[0].error is not None
        assert answers[0].error.reason is Reason.OFFSET_OUT_OF_RANGE


@pytest.mark.parametrize("at", [0, 3, 11, 16, 23, 26], ids=str)
async def test_a_damaged_batch_is_corrupt(at: int) -> None:
    """Base offset, length, magic, last offset: what is needed to find the next batch."""
    made = await made_of(2)
    manifest = await made.compact(4, batches_each=4)
    key = segment_key(FOLDER, manifest.segments[0].name)
    data = bytearray(await made.store.get(key))
    data[32 + at] ^= 0x41
    await made.store.put(key, bytes(data))
    async with serving(made) as (served, _):
        assert isinstance((await served.fetch(0)).error, Corrupt)
        assert offsets_of(await served.fetch(1)) == [1, 2, 3]


async def test_an_index_of_another_segment_is_corrupt() -> None:
    made = await made_of(4)
    manifest = await made.compact(8, batches_each=4)
    first, second = manifest.segments
    body = await made.store.get(segment_index_key(FOLDER, second.name))
    await made.store.put(segment_index_key(FOLDER, first.name), body)
    async with serving(made) as (served, _):
        assert isinstance((await served.fetch(0)).error, Corrupt)


async def test_a_reader_near_the_end_does_not_wait_for_those_who_catch_up() -> None:
    """All places for cold GETs are taken; the newest segment is read by others."""
    made = await made_of(20)
    await made.compact(40, batches_each=10)
    async with serving(made, gets_max=1, near_tail_bytes=1500) as (served, store):
        store.go = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.fetch, 0)
            await wait_all_tasks_blocked()
            held = len(store.gets)
            nursery.start_soon(served.fetch, 10)
            await wait_all_tasks_blocked()
            assert len(store.gets) == held
            nursery.start_soon(served.fetch, 35)
            await wait_all_tasks_blocked()
            assert len(store.gets) == held + 1
            store.go.set()
