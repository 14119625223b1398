"""Offsets and epochs without a new CRC; append time with one."""

from hypothesis import given
from hypothesis import strategies as st

from libs.records import (
    TimestampType,
    find_offset_for_timestamp,
    patch_in_place,
    patched,
    patched_bytes,
    split_batches,
    validate_records,
    verify_stored,
    with_log_append_time,
)
from tests.support.records import Record, decode_batch, encode_batch

RECORDS = [Record(b"k", b"v" * 50, 1000), Record(None, b"w", 1500)]
BLOB = encode_batch(RECORDS)


@given(st.integers(0, 2**63 - 2), st.integers(0, 2**31 - 1))
def test_offset_and_epoch(base_offset: int, leader_epoch: int) -> None:
    (view,) = split_batches(BLOB)
    blob = patched_bytes(view, base_offset=base_offset, leader_epoch=leader_epoch)
    (after,) = validate_records(blob)
    assert (after.base_offset, after.partition_leader_epoch) == (base_offset, leader_epoch)
    assert blob[16:] == BLOB[16:]
    assert decode_batch(blob) == [(base_offset + index, record) for index, record in enumerate(RECORDS)]
    verify_stored(blob, base_offset=base_offset, record_count=2, leader_epoch=leader_epoch)


def test_the_records_are_not_copied() -> None:
    source = bytearray(BLOB)
    (view,) = split_batches(source)
    prefix, rest = patched(view, base_offset=3, leader_epoch=1)
    source[-1] ^= 0xFF
    assert len(prefix) == 16
    assert rest[-1] == source[-1]


def test_in_place_is_the_same() -> None:
    (view,) = split_batches(BLOB)
    buffer = bytearray(b"xx" + BLOB + b"yy")
    patch_in_place(buffer, 2, batch=view, base_offset=8, leader_epoch=9)
    assert buffer == b"xx" + patched_bytes(view, base_offset=8, leader_epoch=9) + b"yy"


def test_append_time() -> None:
    (view,) = split_batches(BLOB)
    after = with_log_append_time(view, 9000)
    verify_stored(after.data, base_offset=0, record_count=2)
    assert after.timestamp_type is TimestampType.LOG_APPEND_TIME
    assert (after.base_timestamp_ms, after.max_timestamp_ms) == (1000, 9000)
    assert view.data == BLOB
    assert find_offset_for_timestamp(after._replace(base_offset=70), 8000) == (70, 9000)
    assert find_offset_for_timestamp(after, 9001) is None
