"""Looking inside a batch: whatever a client put there, Invalid is all that comes."""

import gzip
import struct

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Invalid, Reason
from libs.records import Codec, find_offset_for_timestamp, greatest_timestamp, split_batches
from libs.records.batch import BatchView
from libs.records.timestamps import decompress
from tests.support.records import Record, encode_batch, encode_records

RECORDS = [Record(b"k", b"v" * 100, 1000 + 10 * index) for index in range(4)]
PLAIN = encode_records(RECORDS)


def xerial(plain: bytes, block_bytes: int) -> bytes:
    blocks = [plain[at : at + block_bytes] for at in range(0, len(plain), block_bytes)]
    packed = [bytes(cramjam.snappy.compress_raw(block)) for block in blocks]
    framed = b"".join(struct.pack(">I", len(block)) + block for block in packed)
    return b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1) + framed


def batch_of(codec: Codec, payload: bytes, records: list[Record] = RECORDS) -> BatchView:
    (view,) = split_batches(encode_batch(records, base_offset=10, attributes=codec, payload=payload))
    return view


PAYLOADS = {
    "none": (Codec.NONE, PLAIN),
    "gzip": (Codec.GZIP, gzip.compress(PLAIN)),
    "snappy": (Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(PLAIN))),
    "snappy, xerial": (Codec.SNAPPY, xerial(PLAIN, 100)),
    "lz4": (Codec.LZ4, bytes(cramjam.lz4.compress(PLAIN))),
    "zstd": (Codec.ZSTD, bytes(cramjam.zstd.compress(PLAIN))),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_codec(name: str) -> None:
    batch = batch_of(*PAYLOADS[name])
    assert decompress(batch) == PLAIN
    assert find_offset_for_timestamp(batch, 1015) == (12, 1020)
    assert find_offset_for_timestamp(batch, 0) == (10, 1000)
    assert find_offset_for_timestamp(batch, 1031) is None


def test_records_below_the_least_offset_do_not_count() -> None:
    """The log may start in the middle of a batch."""
    records = [Record(None, b"v", time) for time in (1030, 1000, 1020, 1010)]
    batch = batch_of(Codec.NONE, encode_records(records), records)
    assert find_offset_for_timestamp(batch, 1015) == (10, 1030)
    assert find_offset_for_timestamp(batch, 1015, least_offset=11) == (12, 1020)
    assert find_offset_for_timestamp(batch, 1015, least_offset=13) is None
    greatest = [greatest_timestamp(batch, least_offset=offset) for offset in range(9, 15)]
    assert greatest == [1030, 1030, 1020, 1020, 1010, -1]


@pytest.mark.parametrize("name", [name for name in PAYLOADS if name != "none"])
def test_the_plain_size_is_bounded(name: str) -> None:
    batch = batch_of(*PAYLOADS[name])
    assert find_offset_for_timestamp(batch, 1015, decompressed_bytes_max=len(PLAIN)) == (12, 1020)
    with pytest.raises(Invalid):
        find_offset_for_timestamp(batch, 1015, decompressed_bytes_max=len(PLAIN) - 1)


def test_a_snappy_bomb_is_told_by_its_header() -> None:
    with pytest.raises(Invalid) as caught:
        decompress(batch_of(Codec.SNAPPY, b"\xff\xff\xff\xff\x0f" + b"\0" * 10))
    assert caught.value.reason is Reason.MESSAGE_TOO_LARGE


@pytest.mark.parametrize("name", PAYLOADS)
def test_cut_anywhere_is_invalid(name: str) -> None:
    codec, payload = PAYLOADS[name]
    for cut in range(len(payload)):
        try:
            found = find_offset_for_timestamp(batch_of(codec, payload[:cut]), 1030)
        except Invalid:
            continue
        assert found in (None, (13, 1030))


@given(st.sampled_from(sorted(PAYLOADS)), st.binary(max_size=100))
def test_random_payloads(name: str, payload: bytes) -> None:
    batch = batch_of(PAYLOADS[name][0], payload)
    try:
        found = find_offset_for_timestamp(batch, 1030, decompressed_bytes_max=100_000)
    except Invalid:
        return
    assert found is None or (10 <= found.offset <= 13 and found.timestamp_ms <= 1030)


@given(st.sampled_from(sorted(PAYLOADS)), st.data())
def test_changed_payloads(name: str, data: st.DataObject) -> None:
    codec, payload = PAYLOADS[name]
    at = data.draw(st.integers(0, len(payload) - 1))
    value = data.draw(st.integers(0, 255))
    batch = batch_of(codec, payload[:at] + bytes([value]) + payload[at + 1 :])
    try:
        found = find_offset_for_timestamp(batch, 1030, decompressed_bytes_max=100_000)
    except Invalid:
        return
    assert found is None or (10 <= found.offset <= 13 and found.timestamp_ms <= 1030)


def test_a_number_without_an_end() -> None:
    with pytest.raises(Invalid):
        find_offset_for_timestamp(batch_of(Codec.NONE, b"\xff" * 500), 1000)
