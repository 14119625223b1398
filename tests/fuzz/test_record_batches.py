"""Record batches with wrong fields under right CRCs: Invalid, or a batch that keeps what the owner relies
on.
"""

import struct
from contextlib import suppress

from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.model.errors import Corrupt, Invalid
from libs.records import (
    find_offset_for_timestamp,
    patched_bytes,
    validate_records,
    verify_stored,
    whole_batches,
)
from tests.support.records import Record, encode_batch

GOOD = encode_batch(
    [Record(b"k%d" % index, b"v" * index, 1000 + index) for index in range(5)],
    producer_id=9,
    producer_epoch=1,
    base_sequence=2**31 - 3,
)
FIELDS = [(21, "h"), (23, "i"), (27, "q"), (35, "q"), (43, "q"), (51, "h"), (53, "i"), (57, "i")]
EDGES = {
    "h": [-(2**15), -1, 0, 1, 4, 7, 2**15 - 1],
    "i": [-(2**31), -1, 0, 4, 5, 2**31 - 1],
    "q": [-(2**63), -1, 0, 2**63 - 1],
}


@st.composite
def batches(draw: st.DrawFn) -> bytes:
    blob = bytearray(GOOD)
    for at, layout in draw(st.lists(st.sampled_from(FIELDS), max_size=4)):
        struct.pack_into(">" + layout, blob, at, draw(st.sampled_from(EDGES[layout])))
    for place in draw(st.lists(st.integers(61, len(blob) - 1), max_size=3)):
        blob[place] = draw(st.integers(0, 255))
    struct.pack_into(">I", blob, 17, crc32c(blob[21:]))
    return bytes(blob)


@settings(max_examples=500)
@given(batches(), st.binary(max_size=20))
def test_wrong_fields(blob: bytes, tail: bytes) -> None:
    for data in (blob, blob + tail, blob + blob):
        try:
            views = validate_records(data)
        except Invalid:
            continue
        base = 0
        for view in views:
            assert 0 < view.record_count == view.last_offset_delta + 1
            assert view.producer_id == -1 or (view.producer_epoch >= 0 and 0 <= view.last_sequence < 2**31)
            stored = patched_bytes(view, base_offset=base, leader_epoch=0)
            verify_stored(stored, base_offset=base, record_count=view.record_count, leader_epoch=0)
            base += view.record_count
            with suppress(Invalid):
                find_offset_for_timestamp(view, 1002, decompressed_bytes_max=100_000)


@settings(max_examples=200)
@given(st.lists(st.one_of(batches(), st.binary(max_size=70)), max_size=4), st.integers(0, 400))
def test_any_bytes(parts: list[bytes], cut: int) -> None:
    data = b"".join(parts)[:cut]
    for read in (validate_records, whole_batches):
        with suppress(Invalid):
            read(data)
    with suppress(Corrupt):
        verify_stored(data, base_offset=0, record_count=5)
