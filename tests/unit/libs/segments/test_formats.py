"""What holds for every object format: golden bytes, and nothing but Corrupt out of damaged ones."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Corrupt
from libs.records import verify_stored
from libs.segments.seal import parse_chain_object
from libs.segments.wal import WalFooter
from tests.support.segments import formats

GOLDEN = Path(__file__).parents[3] / "golden" / "segments"
FORMATS = formats()
NAMES = sorted(FORMATS)


def read_all(name: str, data: bytes) -> None:
    """Reads `data` as everyone together would: format, then batches."""
    FORMATS[name].parse(data)
    if name == "wal.wal":
        footer = parse_chain_object(data)
        assert isinstance(footer, WalFooter)
        for wal_range in footer.ranges:
            verify_stored(
                data[wal_range.position : wal_range.position + wal_range.size_bytes],
                base_offset=wal_range.base_offset,
                record_count=wal_range.record_count,
                leader_epoch=wal_range.leader_epoch,
            )


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_of_a_released_version_never_change(name: str) -> None:
    assert (GOLDEN / name).read_bytes() == FORMATS[name].sample
    read_all(name, FORMATS[name].sample)


def test_every_golden_file_has_a_format() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.suffix != ".py" and path.is_file()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_cut_anywhere_is_corrupt(name: str) -> None:
    sample = FORMATS[name].sample
    for cut in range(len(sample)):
        with pytest.raises(Corrupt):
            FORMATS[name].parse(sample[:cut])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tail", [b"\0", b"x" * 100])
def test_a_tail_is_corrupt(name: str, tail: bytes) -> None:
    with pytest.raises(Corrupt):
        FORMATS[name].parse(FORMATS[name].sample + tail)
    with pytest.raises(Corrupt):
        FORMATS[name].parse(FORMATS[name].sample * 2)


@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_bit_is_corrupt(name: str) -> None:
    sample = bytearray(FORMATS[name].sample)
    step = 1 if len(sample) < 4000 else 61  # odd: every bit of a byte comes up
    for bit in range(0, len(sample) * 8, step):
        sample[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt):
            read_all(name, bytes(sample))
        sample[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_corrupt(name: str, data: bytes) -> None:
    with pytest.raises(Corrupt):
        FORMATS[name].parse(data)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_formats_are_not_taken_for_each_other(name: str, other: str) -> None:
    if FORMATS[name].parse is not FORMATS[other].parse:
        with pytest.raises(Corrupt):
            FORMATS[name].parse(FORMATS[other].sample)
