"""Object formats with wrong fields under right CRCs: what a CRC can't catch, the checks of fields must.

Owns: changing a sample and repairing its CRCs. Does not own: damage that a CRC does catch (tests/unit).
"""

import struct
from collections.abc import Callable
from zlib import crc32

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.model.errors import Corrupt
from libs.segments.envelope import NeedMore
from libs.segments.layout import (
    CHAIN_TRAILER,
    CHAIN_TRAILER_BYTES,
    INDEX_ENTRY,
    INDEX_ENTRY_BYTES,
    INDEX_HEAD_BYTES,
)
from libs.segments.seal import classify_chain_object
from tests.support.segments import formats

FORMATS = formats()


def repair_chain(blob: bytearray) -> None:
    (footer_bytes,) = struct.unpack_from(">I", blob, len(blob) - CHAIN_TRAILER_BYTES)
    start = max(0, len(blob) - CHAIN_TRAILER_BYTES - footer_bytes)
    covered = blob[start : len(blob) - CHAIN_TRAILER_BYTES + CHAIN_TRAILER.size]
    struct.pack_into(">I", blob, len(blob) - 8, crc32c(covered))


def repair_crc32c_at_end(blob: bytearray) -> None:
    struct.pack_into(">I", blob, len(blob) - 4, crc32c(blob[:-4]))


def repair_crc32_at_end(blob: bytearray) -> None:
    struct.pack_into(">I", blob, len(blob) - 4, crc32(blob[:-4]))


def repair_segment(blob: bytearray) -> None:
    struct.pack_into(">I", blob, len(blob) - 16, crc32(blob[-12:-4], crc32(blob[:-16])))


def repair_index(blob: bytearray) -> None:
    (partitions,) = struct.unpack_from(">I", blob, INDEX_HEAD_BYTES - 4)
    table_end = INDEX_HEAD_BYTES + partitions * INDEX_ENTRY_BYTES
    if table_end + 4 > len(blob):
        return
    for at in range(INDEX_HEAD_BYTES, table_end, INDEX_ENTRY_BYTES):
        *_, position, size_bytes, _ = INDEX_ENTRY.unpack_from(blob, at)
        part = crc32c(blob[position : position + size_bytes])
        struct.pack_into(">I", blob, at + INDEX_ENTRY_BYTES - 4, part)
    struct.pack_into(">I", blob, table_end, crc32c(blob[:table_end]))


REPAIRS: dict[str, Callable[[bytearray], None]] = {
    "wal.wal": repair_chain,
    "probe.wal": repair_chain,
    "seal.wal": repair_chain,
    "start": repair_crc32c_at_end,
    "index.idx": repair_index,
    "segment.kfs": repair_segment,
    "segment.index": repair_crc32_at_end,
    "manifest.kfm": repair_crc32c_at_end,
    "orders.topic": repair_crc32c_at_end,
    "tombstone": repair_crc32c_at_end,
    "store-id": repair_crc32c_at_end,
    "snapshot": repair_crc32c_at_end,
}

CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=1),
            st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff" * 8, b"\x80" + b"\0" * 7]),
        ),
    ),
    max_size=4,
)


def changed(name: str, changes: list[tuple[float, bytes]], cut: int, tail: bytes) -> bytes:
    blob = bytearray(FORMATS[name].sample)
    for place, new in changes:
        at = int(place * len(blob))
        blob[at : at + len(new)] = new[: len(blob) - at]
    blob = blob[cut:] if cut >= 0 else blob[:cut]
    blob += tail
    if len(blob) > CHAIN_TRAILER_BYTES:
        REPAIRS[name](blob)
    return bytes(blob)


def test_repairing_an_unchanged_sample_changes_nothing() -> None:
    assert REPAIRS.keys() == FORMATS.keys()
    for name, made in FORMATS.items():
        assert changed(name, [], 0, b"") == made.sample


@pytest.mark.parametrize("name", sorted(FORMATS))
@settings(max_examples=200)
@given(
    changes=CHANGES,
    cut=st.sampled_from([0, 0, 0, 1, 8, -1, -8]),
    tail=st.sampled_from([b"", b"", b"\0", b"\xff" * 60]),
)
def test_wrong_fields_are_corrupt_or_harmless(
    name: str, changes: list[tuple[float, bytes]], cut: int, tail: bytes
) -> None:
    blob = changed(name, changes, cut, tail)
    try:
        found = FORMATS[name].parse(blob)
    except Corrupt:
        return
    assert found is not None


@settings(max_examples=200)
@given(
    name=st.sampled_from(["wal.wal", "probe.wal", "seal.wal"]),
    changes=CHANGES,
    suffix_bytes=st.integers(0, 1000),
    object_bytes=st.one_of(st.none(), st.integers(-1, 2**40)),
)
def test_suffixes_of_wrong_objects(
    name: str, changes: list[tuple[float, bytes]], suffix_bytes: int, object_bytes: int | None
) -> None:
    blob = changed(name, changes, 0, b"")
    suffix = blob[max(0, len(blob) - suffix_bytes) :]
    size = len(blob) if object_bytes is None else object_bytes
    try:
        found = classify_chain_object(suffix, size)
    except Corrupt:
        return
    if isinstance(found, NeedMore):
        assert len(suffix) < found.size_bytes <= size
