"""What a broker accepts, and what a stored range must be."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Corrupt, Invalid, Reason
from libs.records import patched_bytes, split_batches, validate_batch, validate_records, verify_stored
from libs.records.layout import RECORDS_PER_BATCH_MAX
from tests.support.records import Record, encode_batch, frame

RECORDS = [Record(b"k%d" % index, b"v" * 20, 1000 + index) for index in range(3)]
GOOD = encode_batch(RECORDS, producer_id=1, producer_epoch=0, base_sequence=0)


def refused(blob: bytes, reason: Reason, **limits: int) -> None:
    with pytest.raises(Invalid) as caught:
        validate_records(blob, **limits)
    assert caught.value.reason is reason


def changed(at: int, layout: str, value: int) -> bytes:
    """GOOD with a field after the CRC changed, and the CRC right."""
    body = bytearray(GOOD[21:])
    struct.pack_into(layout, body, at - 21, value)
    return frame(bytes(body))


def test_good_batches_pass() -> None:
    first, second = validate_records(GOOD + encode_batch(RECORDS))
    assert first.data == GOOD
    assert not second.is_idempotent


def test_a_produce_needs_a_batch() -> None:
    refused(b"", Reason.INVALID_RECORD)


def test_size_is_limited_to_the_byte() -> None:
    validate_records(GOOD, batch_bytes_max=len(GOOD))
    refused(GOOD, Reason.MESSAGE_TOO_LARGE, batch_bytes_max=len(GOOD) - 1)


def test_every_flipped_bit_from_the_crc_on_is_refused() -> None:
    for bit in range(17 * 8, len(GOOD) * 8):
        blob = bytearray(GOOD)
        blob[bit // 8] ^= 1 << bit % 8
        refused(bytes(blob), Reason.CORRUPT_MESSAGE)


@pytest.mark.parametrize("bit", [*range(8 * 8, 12 * 8), *range(16 * 8, 17 * 8)])
def test_every_flipped_bit_of_length_and_magic_is_refused(bit: int) -> None:
    blob = bytearray(GOOD)
    blob[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Invalid):
        validate_records(blob)


def test_offset_and_epoch_are_the_brokers() -> None:
    blob = struct.pack(">q", 99) + GOOD[8:12] + struct.pack(">i", 5) + GOOD[16:]
    assert len(validate_records(blob)) == 1


@pytest.mark.parametrize(
    ("at", "layout", "value", "reason"),
    [
        (21, ">h", 0x20, Reason.INVALID_RECORD),  # control
        (21, ">h", 0x10, Reason.INVALID_RECORD),  # transactional
        (21, ">h", 0x08, Reason.INVALID_TIMESTAMP),  # log append time
        (21, ">h", 0x40, Reason.INVALID_RECORD),  # delete horizon
        (21, ">h", -32768, Reason.INVALID_RECORD),
        (21, ">h", 5, Reason.INVALID_RECORD),  # codecs
        (21, ">h", 6, Reason.INVALID_RECORD),
        (21, ">h", 7, Reason.INVALID_RECORD),
        (23, ">i", 1, Reason.INVALID_RECORD),  # last offset delta
        (23, ">i", -1, Reason.INVALID_RECORD),
        (35, ">q", -2, Reason.INVALID_TIMESTAMP),
        (43, ">q", -2, Reason.INVALID_RECORD),  # producer id, epoch, sequence
        (51, ">h", -1, Reason.INVALID_RECORD),
        (53, ">i", -1, Reason.INVALID_RECORD),
        (57, ">i", 0, Reason.INVALID_RECORD),  # record count
        (57, ">i", -1, Reason.INVALID_RECORD),
        (57, ">i", 4, Reason.INVALID_RECORD),
    ],
)
def test_fields_that_can_not_be(at: int, layout: str, value: int, reason: Reason) -> None:
    refused(changed(at, layout, value), reason)


def test_a_count_that_the_bytes_can_not_hold() -> None:
    body = bytearray(GOOD[21:])
    struct.pack_into(">i", body, 2, 99)
    struct.pack_into(">i", body, 36, 100)
    refused(frame(bytes(body)), Reason.INVALID_RECORD)
    struct.pack_into(">h", body, 0, 4)  # compressed: it may be true
    assert validate_records(frame(bytes(body)))
    struct.pack_into(">i", body, 2, RECORDS_PER_BATCH_MAX)
    struct.pack_into(">i", body, 36, RECORDS_PER_BATCH_MAX + 1)
    refused(frame(bytes(body)), Reason.INVALID_RECORD)


def test_sequences_mean_nothing_without_a_producer_id() -> None:
    assert validate_records(encode_batch(RECORDS, producer_id=-1, producer_epoch=0, base_sequence=0))


@given(st.binary(max_size=200))
def test_random_bytes_are_invalid(blob: bytes) -> None:
    with pytest.raises(Invalid):
        validate_records(blob)


@given(st.binary(max_size=120))
def test_random_bodies_under_a_good_crc(body: bytes) -> None:
    try:
        (view,) = validate_records(frame(body))
    except Invalid:
        return
    assert view.record_count == view.last_offset_delta + 1 > 0


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_the_brokers(at: int, value: int) -> None:
    blob = bytearray(GOOD)
    blob[at] = value
    if at < 8 or 12 <= at < 16 or blob == GOOD:
        validate_records(blob)
    else:
        with pytest.raises(Invalid):
            validate_records(blob)


def test_a_view_that_lies_about_its_size_is_refused() -> None:
    (view,) = split_batches(GOOD)
    with pytest.raises(Invalid):
        validate_batch(view._replace(data=view.data[:-1]))
    with pytest.raises(Invalid):
        validate_batch(view._replace(magic=1))


def stored() -> bytes:
    first, second = split_batches(GOOD + encode_batch(RECORDS[:2]))
    return patched_bytes(first, base_offset=50, leader_epoch=4) + patched_bytes(
        second, base_offset=53, leader_epoch=4
    )


def test_a_stored_range_is_what_it_says() -> None:
    views = verify_stored(stored(), base_offset=50, record_count=5, leader_epoch=4)
    assert [(view.base_offset, view.last_offset) for view in views] == [(50, 52), (53, 54)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: blob[:-1],
        lambda blob: blob + b"\0",
        lambda blob: blob + blob,
        lambda blob: b"\1" + blob[1:],
        lambda blob: blob[:15] + b"\5" + blob[16:],
        lambda blob: blob[:-1] + b"\1",
        lambda blob: blob[: len(GOOD)],
        lambda blob: b"",
    ],
)
def test_a_damaged_range_is_corrupt(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Corrupt):
        verify_stored(damage(stored()), base_offset=50, record_count=5, leader_epoch=4)
