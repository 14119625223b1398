"""Which ranges a fetch reads and which whole batches it returns."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Corrupt
from libs.model.ids import LeaderEpoch, SessionId
from libs.records import iter_batches
from services.partition_owner.log import LogRange, PartitionLog
from services.partition_owner.read_plan import cut, ranges_to_read
from tests.support.records import Record, encode_batch

SESSION = SessionId(UUID(int=1))


class Stored:
    """A log with its bytes: ranges of batches of (records, bytes a record)."""

    def __init__(self, ranges: list[list[tuple[int, int]]]) -> None:
        self.log = PartitionLog(log_start=0, next_offset=0)
        self.chunks: dict[int, memoryview] = {}
        for seq, batches in enumerate(ranges):
            base = next_offset = self.log.assigned
            data = b""
            for count, size in batches:
                data += encode_batch([Record(None, b"x" * size)] * count, base_offset=next_offset)
                next_offset += count
            self.log.append(
                session=SESSION,
                leader_epoch=LeaderEpoch(0),
                seq=seq,
                base_offset=base,
                record_count=next_offset - base,
                position=8,
                size_bytes=len(data),
                max_timestamp_ms=0,
            )
            self.chunks[seq] = memoryview(data)
        self.log.begin_flight(self.log.assigned)
        self.log.advance_durable(self.log.assigned)

    def read(self, offset: int, max_bytes: int, *, at_least_one: bool) -> bytes:
        ranges = ranges_to_read(self.log, offset, max_bytes)
        chunks = [self.chunks[each.seq] for each in ranges]
        return b"".join(cut(ranges, chunks, offset=offset, max_bytes=max_bytes, at_least_one=at_least_one))


stored = st.lists(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 200)), min_size=1, max_size=4),
    min_size=1,
    max_size=6,
)


@given(stored, st.data(), st.integers(0, 3000), st.booleans())
def test_whole_batches_from_the_offset_on(
    ranges: list[list[tuple[int, int]]], data: st.DataObject, max_bytes: int, at_least_one: bool
) -> None:
    made = Stored(ranges)
    offset = data.draw(st.integers(0, made.log.durable - 1))
    found = list(iter_batches(made.read(offset, max_bytes, at_least_one=at_least_one)))
    size = sum(each.size_bytes for each in found)
    every = [each for chunk in made.chunks.values() for each in iter_batches(chunk)]
    wanted = [each for each in every if each.last_offset >= offset]
    assert [each.base_offset for each in found] == [each.base_offset for each in wanted[: len(found)]]
    if at_least_one:
        assert found
    assert size <= max_bytes or (at_least_one and len(found) == 1)
    if len(found) < len(wanted):
        # Whatever was left out did not fit, or lies beyond what was planned to be read.
        planned_end = ranges_to_read(made.log, offset, max_bytes)[-1].end_offset
        following = wanted[len(found)]
        assert following.base_offset >= planned_end or size + following.size_bytes > max_bytes


def test_reading_on_reaches_the_end() -> None:
    made = Stored([[(2, 50), (1, 500)], [(3, 10)], [(1, 1), (1, 1)]])
    offset, seen = 0, []
    while offset < made.log.durable:
        found = list(iter_batches(made.read(offset, 100, at_least_one=True)))
        seen += [each.base_offset for each in found]
        offset = found[-1].next_offset
    assert seen == [0, 2, 3, 6, 7]
    assert ranges_to_read(made.log, offset, 100) == []


def test_bytes_that_are_not_what_the_range_says_are_corrupt() -> None:
    made = Stored([[(2, 50), (2, 50)]])
    (found,) = ranges_to_read(made.log, 0, 1000)
    chunk = made.chunks[0]
    other = LogRange(*found[:3], 7, 11, *found[5:])
    for ranges, chunks, offset in (
        ([found], [chunk[:-1]], 0),
        ([other], [chunk], 7),
        ([found], [memoryview(bytes(chunk[:11]) + b"\x01" + bytes(chunk[12:]))], 3),
    ):
        with pytest.raises(Corrupt):
            cut(ranges, chunks, offset=offset, max_bytes=1 << 20, at_least_one=True)
