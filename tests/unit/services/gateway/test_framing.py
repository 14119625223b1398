"""Frames come out whole however the bytes come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Invalid, Reason
from services.gateway.framing import FrameReader, frame_prefix


def stream_of(frames: list[bytes]) -> bytes:
    return b"".join(frame_prefix(len(frame)) + frame for frame in frames)


def drain(reader: FrameReader) -> list[bytes]:
    found = []
    while (frame := reader.next_frame()) is not None:
        found.append(frame)
    return found


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_any_split_gives_the_same_frames(frames: list[bytes], sizes: list[int]) -> None:
    data = stream_of(frames)
    reader, found, position, turn = FrameReader(), [], 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        reader.receive_data(data[position : position + size])
        found += drain(reader)
        position, turn = position + size, turn + 1
    assert found == frames
    assert not reader.mid_frame
    assert reader.missing_bytes == 4


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5))
def test_whole_and_with_a_tail(frames: list[bytes]) -> None:
    reader = FrameReader()
    reader.receive_data(stream_of(frames) + b"\x00\x00")
    assert drain(reader) == frames
    assert reader.mid_frame
    assert reader.missing_bytes == 2


def test_says_how_much_is_missing() -> None:
    reader = FrameReader()
    assert (reader.missing_bytes, reader.mid_frame) == (4, False)
    reader.receive_data(frame_prefix(1000) + bytes(300))
    assert reader.next_frame() is None
    assert (reader.frame_bytes, reader.missing_bytes, reader.mid_frame) == (1000, 700, True)
    reader.receive_data(bytes(700))
    assert reader.missing_bytes == 0
    assert reader.next_frame() == bytes(1000)


def test_an_empty_frame_is_a_frame() -> None:
    reader = FrameReader()
    reader.receive_data(frame_prefix(0))
    assert reader.next_frame() == b""


@pytest.mark.parametrize("length", [-1, -(2**31), 101, 2**31 - 1])
def test_a_length_out_of_bounds_is_refused_before_anything_is_read(length: int) -> None:
    reader = FrameReader(frame_bytes_max=100)
    reader.receive_data(length.to_bytes(4, "big", signed=True))
    with pytest.raises(Invalid) as caught:
        reader.next_length()
    assert str(length) in caught.value.message
    assert (caught.value.reason is Reason.MESSAGE_TOO_LARGE) == (length > 0)


def test_the_largest_frame_is_allowed() -> None:
    reader = FrameReader(frame_bytes_max=100)
    reader.receive_data(frame_prefix(100) + bytes(100))
    assert reader.next_frame() == bytes(100)
