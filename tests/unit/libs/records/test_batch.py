"""Splitting a blob into batches."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Invalid, Reason
from libs.records import split_batches, whole_batches
from tests.support.records import Record, encode_batch

ONE = encode_batch([Record(b"k", b"v"), Record(None, None)], base_offset=7, leader_epoch=3)
TWO = encode_batch([Record(b"k", b"w" * 100)], base_offset=9, leader_epoch=3)


def test_fields_of_the_header() -> None:
    batch = encode_batch(
        [Record(None, b"v", 50), Record(None, b"w", 90)],
        base_offset=11,
        leader_epoch=5,
        attributes=0x18,
        producer_id=77,
        producer_epoch=6,
        base_sequence=2**31 - 1,
    )
    (view,) = split_batches(batch)
    assert (view.base_offset, view.last_offset, view.next_offset) == (11, 12, 13)
    assert (view.partition_leader_epoch, view.magic, view.record_count) == (5, 2, 2)
    assert (view.base_timestamp_ms, view.max_timestamp_ms) == (50, 90)
    assert (view.producer_id, view.producer_epoch, view.base_sequence) == (77, 6, 2**31 - 1)
    assert view.last_sequence == 0  # sequences wrap
    assert view.is_transactional
    assert view.timestamp_type == 1
    assert view.size_bytes == len(batch)
    assert view.data == batch


def test_nothing_is_copied() -> None:
    blob = bytearray(ONE + TWO)
    first, second = split_batches(blob)
    blob[0] = 1
    assert first.data[0] == 1
    assert second.data == TWO
    first.data.release()
    second.data.release()


@pytest.mark.parametrize("blob", [ONE, ONE + TWO, TWO + ONE + TWO])
def test_cut_anywhere(blob: bytes) -> None:
    edges = {0, *(sum(view.size_bytes for view in split_batches(blob)[:n]) for n in range(1, 4))}
    for cut in range(len(blob)):
        if cut in edges:
            assert b"".join(view.data for view in split_batches(blob[:cut])) == blob[:cut]
        else:
            with pytest.raises(Invalid) as caught:
                split_batches(blob[:cut])
            assert caught.value.reason is Reason.CORRUPT_MESSAGE
        whole = whole_batches(blob[:cut])
        assert sum(view.size_bytes for view in whole) == max(edge for edge in edges if edge <= cut)


@pytest.mark.parametrize("magic", [0, 1, 3, 127, 128, 255])
def test_other_magics_are_refused(magic: int) -> None:
    blob = bytearray(ONE)
    blob[16] = magic
    with pytest.raises(Invalid) as caught:
        split_batches(blob)
    assert caught.value.reason is Reason.UNSUPPORTED_MAGIC


def test_a_short_message_of_magic_0_is_told_by_its_magic() -> None:
    with pytest.raises(Invalid) as caught:
        split_batches(struct.pack(">qiIbb", 0, 14, 0, 0, 0) + b"\xff" * 8)
    assert caught.value.reason is Reason.UNSUPPORTED_MAGIC


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 48, len(ONE) - 11, 2**31 - 1])
def test_lengths_that_can_not_be(length: int) -> None:
    blob = ONE[:8] + struct.pack(">i", length) + ONE[12:]
    with pytest.raises(Invalid) as caught:
        split_batches(blob)
    assert caught.value.reason is Reason.CORRUPT_MESSAGE


@given(st.lists(st.lists(st.binary(max_size=30), min_size=1, max_size=5), max_size=5))
def test_split_is_the_inverse_of_joining(batches: list[list[bytes]]) -> None:
    blobs = [encode_batch([Record(None, value) for value in values]) for values in batches]
    assert [view.data for view in split_batches(b"".join(blobs))] == blobs
