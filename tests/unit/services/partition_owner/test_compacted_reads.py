"""A partition that was compacted at any place reads like one that never was."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.model.ids import LeaderEpoch
from libs.records import iter_batches
from services.partition_owner.list_offsets import EARLIEST, LATEST, MAX_TIMESTAMP, FoundOffset
from tests.unit.services.partition_owner.compacted import Compacted, Served

TIMES = st.integers(0, 30)
BATCHES = st.lists(
    st.tuples(st.lists(TIMES, min_size=1, max_size=3), st.integers(0, 150)), min_size=1, max_size=4
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), BATCHES, st.booleans()),
        st.tuples(st.just("compact"), st.integers(0, 5), st.integers(1, 6)),
        st.tuples(st.just("epoch"), st.integers(1, 2), st.none()),
    ),
    min_size=1,
    max_size=12,
)


async def take(made: Compacted, steps: list[tuple[str, object, object]]) -> None:
    epoch = 0
    for what, first, second in steps:
        if what == "append":
            await made.append(first, epoch=epoch, in_memory=bool(second))  # type: ignore[arg-type]
        elif what == "epoch":
            assert isinstance(first, int)
            epoch += first
        else:
            ends = [end for end in made.range_ends if end > made.log.compacted_end]
            assert isinstance(first, int)
            assert isinstance(second, int)
            if ends:
                await made.compact(ends[min(first, len(ends) - 1)], batches_each=second)


async def check(made: Compacted, served: Served, max_bytes: int) -> None:
    log = made.log
    wanted = [each for each in made.batches if each.end_offset > log.log_start]
    assert log.durable == (wanted[-1].end_offset if wanted else log.log_start)
    for offset in range(log.log_start, log.durable):
        found = await served.fetch(offset, max_bytes)
        assert found.error is None
        assert (found.high_watermark, found.log_start_offset) == (log.durable, log.log_start)
        data = b"".join(found.records)
        rest = [each for each in wanted if each.end_offset > offset]
        count = next(n for n in range(len(rest) + 1) if sum(len(each.data) for each in rest[:n]) >= len(data))
        assert count >= 1
        assert data == b"".join(each.data for each in rest[:count])
        assert len(data) <= max_bytes or count == 1
        assert log.epoch_at(offset) == rest[0].epoch
    await check_times(made, served)


async def check_times(made: Compacted, served: Served) -> None:
    log = made.log
    records = [
        FoundOffset(each.base_offset + at, time, LeaderEpoch(each.epoch))
        for each in made.batches
        for at, time in enumerate(each.times)
        if each.base_offset + at >= log.log_start
    ]
    nothing = FoundOffset(-1, -1, LeaderEpoch(7))
    for time in range(32):
        first = next((each for each in records if each.timestamp_ms >= time), nothing)
        assert await served.find(time) == first
    latest = max(records, key=lambda each: (each.timestamp_ms, -each.offset), default=nothing)
    assert await served.find(MAX_TIMESTAMP) == latest
    assert (await served.find(EARLIEST)).offset == log.log_start
    assert (await served.find(LATEST)).offset == log.durable


@settings(max_examples=60, deadline=None)
@given(
    STEPS, st.integers(0, 100), st.sampled_from([0, 1, 100, 300, 1000, 1 << 20]), st.sampled_from([64, 256])
)
def test_reads_like_one_that_never_was(
    steps: list[tuple[str, object, object]], start_percent: int, max_bytes: int, block_bytes: int
) -> None:
    async def run() -> None:
        made = Compacted()
        await take(made, steps)
        made.log.advance_log_start(made.log.durable * start_percent // 100)
        async with trio.open_nursery() as nursery:
            await check(made, Served(made, nursery, block_bytes=block_bytes), max_bytes)
            before, epochs = made.log, made.log.epochs()
            await made.reopen()
            assert (made.log.segments, made.log.compacted_end) == (before.segments, before.compacted_end)
            assert list(made.log.ranges()) == list(before.ranges())
            assert made.log.epochs() == epochs
            assert made.log.size_bytes == before.size_bytes
            await check(made, Served(made, nursery, block_bytes=block_bytes), max_bytes)
            nursery.cancel_scope.cancel()

    trio.run(run)


@pytest.mark.parametrize("max_bytes", [1, 500, 1 << 20])
async def test_reading_on_reaches_the_end(max_bytes: int) -> None:
    made = Compacted()
    for at in range(30):
        await made.append([([at], 50), ([at, at], 20)])
    await made.compact(made.range_ends[9])
    await made.compact(made.range_ends[19], batches_each=7)
    async with trio.open_nursery() as nursery:
        served = Served(made, nursery, read_ahead_bytes=1000)
        offset, data = 0, b""
        while offset < made.log.durable:
            found = await served.fetch(offset, max_bytes)
            piece = b"".join(found.records)
            *_, last = iter_batches(piece)
            offset, data = last.next_offset, data + piece
        assert data == b"".join(each.data for each in made.batches)
        nursery.cancel_scope.cancel()
