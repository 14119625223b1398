"""Bodies in pieces."""

from hypothesis import given
from hypothesis import strategies as st

from libs.objectstore.body import body_size, buffers_of, gathered, size_of

_views: st.SearchStrategy[memoryview] = st.builds(memoryview, st.binary(max_size=40))
_pieces = st.lists(st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(bytearray), _views))


@given(_pieces, st.integers(1, 64))
def test_gathering_keeps_the_bytes_and_never_joins_beyond_the_chunk(
    pieces: list[bytes | bytearray | memoryview], chunk_bytes: int
) -> None:
    buffers = buffers_of(pieces)
    chunks = list(gathered(buffers, chunk_bytes))
    assert b"".join(chunks) == b"".join(pieces)
    assert body_size(pieces) == sum(map(size_of, chunks))
    largest = max(map(size_of, buffers), default=0)
    assert all(0 < size_of(chunk) <= max(chunk_bytes, largest) for chunk in chunks)


def test_a_lone_large_piece_is_passed_as_it_is() -> None:
    large = bytearray(1000)
    assert list(gathered([b"a", large, b"b"], 100))[1] is large


def test_a_view_counts_bytes_not_items() -> None:
    view = memoryview(bytes(8)).cast("I")
    assert size_of(view) == 8
    assert body_size(view) == 8
