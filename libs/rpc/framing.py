"""gRPC's length-prefixed messages, as bytes in and messages out.

Owns: the five-byte prefix, the size limit, gzip on the way in. Does not own: HTTP/2, protobuf.
Rules: 1 a message that is too large is refused at its prefix, before it is collected; 2 a compressed
message is never inflated beyond the limit. Format: grpc/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message".
"""

import struct
import zlib
from collections.abc import Iterator

from libs.model.errors import Invalid, Reason, Unavailable

PREFIX_BYTES = 5
_PREFIX = struct.Struct(">BI")
_COPY_BELOW_BYTES = 16 * 1024  # a small view must not keep a large read buffer alive
_GZIP_WINDOW_BITS = 31  # zlib: 16 + 15, a gzip header is expected


def prefix(size_bytes: int) -> bytes:
    """The prefix of an uncompressed message."""
    return _PREFIX.pack(0, size_bytes)


class MessageReader:
    """Collects the messages of one direction of one call."""

    __slots__ = ("_encoding", "_have_bytes", "_need_bytes", "_parts", "_size_max")

    def __init__(self, *, size_bytes_max: int) -> None:
        self._size_max = size_bytes_max
        self._encoding = "identity"
        self._parts: list[bytes | memoryview] = []
        self._have_bytes = 0
        self._need_bytes = PREFIX_BYTES

    def set_encoding(self, encoding: str) -> None:
        """What the peer's `grpc-encoding` header announced: identity or gzip."""
        self._encoding = encoding

    @property
    def partial_bytes(self) -> int:
        """Bytes held of a message that is not complete."""
        return self._have_bytes

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[bytes, int]]:
        """Yields each message that `data` completes, with its size on the wire (prefix included).

        Raises Invalid(MESSAGE_TOO_LARGE), and Invalid for a prefix or a compression that is wrong.
        """
        view = memoryview(data)
        position, end = 0, len(view)
        while position < end:
            if not self._have_bytes and end - position >= PREFIX_BYTES:
                flag, size = _PREFIX.unpack_from(view, position)
                self._check(flag, size)
                wire = PREFIX_BYTES + size
                if end - position >= wire:
                    yield self._decode(flag, bytes(view[position + PREFIX_BYTES : position + wire])), wire
                    position += wire
                    continue
                self._need_bytes = wire
            taken = min(self._need_bytes - self._have_bytes, end - position)
            self._hold(view[position : position + taken])
            position += taken
            if self._have_bytes == self._need_bytes and (message := self._complete()) is not None:
                yield message

    def _hold(self, part: memoryview) -> None:
        self._parts.append(bytes(part) if len(part) < _COPY_BELOW_BYTES else part)
        self._have_bytes += len(part)

    def _complete(self) -> tuple[bytes, int] | None:
        head = self._parts[0] if len(self._parts[0]) >= PREFIX_BYTES else self._join()
        flag, size = _PREFIX.unpack_from(head)
        if self._have_bytes == PREFIX_BYTES:  # the prefix itself came in pieces
            self._check(flag, size)
            if size:
                self._need_bytes = PREFIX_BYTES + size
                return None
        wire = self._have_bytes
        self._parts[0] = memoryview(self._parts[0])[PREFIX_BYTES:]
        payload = b"".join(self._parts)
        self._parts = []
        self._have_bytes, self._need_bytes = 0, PREFIX_BYTES
        return self._decode(flag, payload), wire

    def _join(self) -> bytes:
        joined = b"".join(self._parts)
        self._parts = [joined]
        return joined

    def _check(self, flag: int, size: int) -> None:
        if size > self._size_max:
            raise Invalid(
                f"a message of {size} bytes is larger than the limit of {self._size_max}",
                reason=Reason.MESSAGE_TOO_LARGE,
            )
        if flag > 1 or (flag == 1 and self._encoding != "gzip"):
            raise Invalid(f"a message has the compression flag {flag} with the encoding {self._encoding}")

    def _decode(self, flag: int, payload: bytes) -> bytes:
        if not flag:
            return payload
        inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
        try:
            inflated = inflater.decompress(payload, self._size_max + 1)
        except zlib.error as error:
            raise Invalid(f"a compressed message can't be read: {error}") from error
        if len(inflated) > self._size_max:
            raise Invalid(
                f"a message inflates beyond the limit of {self._size_max} bytes",
                reason=Reason.MESSAGE_TOO_LARGE,
            )
        if not inflater.eof:
            raise Invalid("a compressed message ends early")
        return inflated


def truncated() -> Unavailable:
    """The peer ended its side in the middle of a message."""
    return Unavailable("the stream ended in the middle of a message", outcome_unknown=True)
