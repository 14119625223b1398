"""The bytes of an object in pieces, without needless copies.

Owns: sizes and gathering. Does not own: sending.
"""

from collections.abc import Iterator, Sequence

from libs.objectstore.port import Body, Buffer


def buffers_of(body: Body) -> list[Buffer]:
    """The non-empty pieces of `body`, in order."""
    pieces = [body] if isinstance(body, bytes | bytearray | memoryview) else body
    return [piece for piece in pieces if size_of(piece)]


def size_of(piece: Buffer) -> int:
    """Bytes in one piece; a memoryview's len() counts items."""
    return piece.nbytes if isinstance(piece, memoryview) else len(piece)


def body_size(body: Body) -> int:
    """Bytes in the whole body."""
    return sum(size_of(piece) for piece in buffers_of(body))


def gathered(buffers: Sequence[Buffer], chunk_bytes: int) -> Iterator[Buffer]:
    """The same bytes in fewer pieces: small ones are joined up to about `chunk_bytes`."""
    small: list[Buffer] = []
    small_bytes = 0
    for piece in buffers:
        size = size_of(piece)
        if small and small_bytes + size > chunk_bytes:
            yield small[0] if len(small) == 1 else b"".join(small)
            small, small_bytes = [], 0
        small.append(piece)
        small_bytes += size
    if small:
        yield small[0] if len(small) == 1 else b"".join(small)
