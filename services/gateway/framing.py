"""Kafka's length-prefixed frames, as bytes in and frames out.

Owns: the 4-byte length, its bounds, and putting pieces together. Does not own: sockets, or what a frame says.
Rules: 1 a length is refused before anything of its frame is read; 2 a frame's bytes are copied once, when it
is complete; 3 after an error the reader is of no more use: the connection's position is lost.
"""

from libs.model.errors import Invalid, Reason
from libs.model.limits import REQUEST_BYTES_MAX

LENGTH_BYTES = 4


class FrameReader:
    """Takes the stream's bytes in pieces of any size and gives whole frames, without their length."""

    def __init__(self, *, frame_bytes_max: int = REQUEST_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._frame_bytes: int | None = None

    @property
    def frame_bytes(self) -> int | None:
        """The length of the frame that has begun, once its prefix is there."""
        return self._frame_bytes

    @property
    def missing_bytes(self) -> int:
        """How many bytes the rest of the length, or of the frame, has; 0 when it is there."""
        wanted = LENGTH_BYTES if self._frame_bytes is None else self._frame_bytes
        return max(0, wanted - self._buffered_bytes)

    @property
    def mid_frame(self) -> bool:
        """True when the stream may not end here."""
        return self._frame_bytes is not None or self._buffered_bytes > 0

    def receive_data(self, data: bytes) -> None:
        """Adds what the stream gave."""
        if data:
            self._pieces.append(data)
            self._buffered_bytes += len(data)

    def next_length(self) -> int | None:
        """The length of the next frame, or None when its prefix is not complete; may be asked again.

        Raises Invalid for a length that is negative or beyond the bound.
        """
        if self._frame_bytes is None and self._buffered_bytes >= LENGTH_BYTES:
            length = int.from_bytes(self._take(LENGTH_BYTES), "big", signed=True)
            if length < 0:
                raise Invalid(f"a frame announces a negative length ({length})")
            if length > self._frame_bytes_max:
                raise Invalid(
                    f"a frame announces {length} bytes, at most {self._frame_bytes_max} are allowed",
                    reason=Reason.MESSAGE_TOO_LARGE,
                )
            self._frame_bytes = length
        return self._frame_bytes

    def next_frame(self) -> bytes | None:
        """The next whole frame, or None when more data is needed. Raises like `next_length`."""
        length = self.next_length()
        if length is None or self._buffered_bytes < length:
            return None
        self._frame_bytes = None
        return self._take(length)

    def _take(self, count: int) -> bytes:
        self._buffered_bytes -= count
        taken: list[bytes] = []
        for index, piece in enumerate(self._pieces):
            if len(piece) < count:
                taken.append(piece)
                count -= len(piece)
                continue
            taken.append(piece[:count])
            self._pieces[: index + 1] = [piece[count:]] if count < len(piece) else []
            break
        return taken[0] if len(taken) == 1 else b"".join(taken)


def frame_prefix(length: int) -> bytes:
    """The length prefix of a frame of `length` bytes."""
    return length.to_bytes(LENGTH_BYTES, "big", signed=True)
