"""Segments and their indexes: round trip, and what a search finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Corrupt
from libs.segments.layout import SEGMENT_HEAD_BYTES
from libs.segments.segment import (
    SegmentBatch,
    encode_segment,
    parse_segment,
    parse_segment_footer,
    parse_segment_head,
)
from libs.segments.segment_index import open_segment_index, parse_segment_index
from tests.support.records import EPOCH_MS
from tests.support.segments import sample_segment, stored_batch


@st.composite
def batches(draw: st.DrawFn) -> list[SegmentBatch]:
    offset = draw(st.integers(0, 2**60))
    found = []
    for _ in range(draw(st.integers(1, 12))):
        offset += draw(st.integers(0, 5))
        last = offset + draw(st.integers(0, 5))
        data = draw(st.binary(min_size=61, max_size=90))
        found.append(SegmentBatch(offset, last, last - offset + 1, draw(st.integers(-1, 50)), data))
        offset = last + 1
    return found


@given(batches(), st.integers(1, 500))
def test_round_trip(entries: list[SegmentBatch], interval_bytes: int) -> None:
    encoded = encode_segment(entries, created_ms=9, interval_bytes=interval_bytes)
    blob = b"".join(encoded.buffers)
    assert len(blob) == encoded.size_bytes
    head, footer, data = parse_segment(blob)
    assert data == b"".join(entry.data for entry in entries)
    assert (head.base_offset, head.created_ms) == (entries[0].base_offset, 9)
    assert head.record_count == encoded.record_count == sum(entry.record_count for entry in entries)
    assert footer.last_offset == encoded.last_offset == entries[-1].last_offset
    assert encoded.max_timestamp_ms == max(entry.max_timestamp_ms for entry in entries)


@given(batches(), st.integers(1, 500))
def test_searches_begin_at_or_before_what_is_looked_for(
    entries: list[SegmentBatch], interval_bytes: int
) -> None:
    index = parse_segment_index(encode_segment(entries, created_ms=9, interval_bytes=interval_bytes).index)
    assert index.interval_bytes == interval_bytes
    starts = {}
    position = SEGMENT_HEAD_BYTES
    for entry in entries:
        starts[position] = entry.base_offset
        position += memoryview(entry.data).nbytes
    for start, entry in zip(starts, entries, strict=True):
        for offset in (entry.base_offset, entry.last_offset):
            begin = index.position_of(offset)
            assert begin in starts  # reading begins at a batch
            assert begin <= start < begin + interval_bytes + 90
            end = index.position_after(offset)
            assert end is None or (end in starts and end > start)
    for timestamp_ms in range(-2, 52):
        begin_at = index.offset_before(timestamp_ms)
        assert begin_at in starts.values()
        assert all(entry.max_timestamp_ms < timestamp_ms for entry in entries if entry.base_offset < begin_at)


def test_the_sample() -> None:
    encoded = sample_segment()
    index = parse_segment_index(encoded.index)
    assert len(index.offsets) == 4
    assert index.offsets[0] == (1000, SEGMENT_HEAD_BYTES)
    assert index.offset_before(EPOCH_MS - 1) == 1000
    assert index.position_of(0) == SEGMENT_HEAD_BYTES
    assert encoded.last_offset == 1079


def test_head_and_footer_of_a_ranged_read() -> None:
    blob = b"".join(sample_segment().buffers)
    assert parse_segment_head(blob[:32]) == parse_segment(blob)[0]
    assert parse_segment_footer(blob[-16:]) == parse_segment(blob)[1]
    for cut in range(32):
        with pytest.raises(Corrupt):
            parse_segment_head(blob[:cut])
    for cut in range(16):
        with pytest.raises(Corrupt):
            parse_segment_footer(blob[len(blob) - cut :])


def test_what_may_not_be_written() -> None:
    data = stored_batch(0, 1)
    with pytest.raises(ValueError, match="at least one"):
        encode_segment([], created_ms=0)
    for wrong in (
        [SegmentBatch(5, 6, 2, 0, data), SegmentBatch(6, 7, 2, 0, data)],
        [SegmentBatch(5, 4, 1, 0, data)],
    ):
        with pytest.raises(ValueError, match="can't follow"):
            encode_segment(wrong, created_ms=0)
    with pytest.raises(ValueError, match="too large"):
        encode_segment([SegmentBatch(0, 2**33, 2**33, 0, data)], created_ms=0)


@given(batches(), st.integers(1, 500))
def test_an_index_that_stays_packed_answers_as_one_that_was_parsed(
    entries: list[SegmentBatch], interval_bytes: int
) -> None:
    encoded = encode_segment(entries, created_ms=9, interval_bytes=interval_bytes)
    parsed, packed = parse_segment_index(encoded.index), open_segment_index(encoded.index)
    assert (tuple(packed.offsets), tuple(packed.times)) == (parsed.offsets, parsed.times)
    assert packed.offsets[:1] == parsed.offsets[:1]
    for entry in entries:
        assert packed.position_of(entry.base_offset) == parsed.position_of(entry.base_offset)
        assert packed.offset_before(entry.max_timestamp_ms) == parsed.offset_before(entry.max_timestamp_ms)
    for position in range(SEGMENT_HEAD_BYTES - 1, encoded.size_bytes, 7):
        found = packed.entry_before(position)
        assert found == parsed.entry_before(position)
        assert found.position <= max(position, SEGMENT_HEAD_BYTES)
        assert all(each.position > position for each in parsed.offsets if each.position > found.position)
