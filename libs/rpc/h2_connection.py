"""h2's connection, with what a gRPC transport needs to differ. The only subclass of h2 and the only file that
knows its insides.

Owns: four corrections. Does not own: sockets, calls, gRPC.
1. h2 formats `repr(frame)`, a hex dump of the body, for every frame it receives, although its logger is
   off: 15-50 % of the time on DATA. Our DATA frames have a `repr` that costs nothing.
2. h2 collects a DATA frame whole and copies it three times. A partial DATA frame is handed over as it
   arrives, as a view: for flow control that is the same as if the peer had sent smaller frames.
3. h2 joins what is to be sent into one buffer, copying it four times. Here the parts are kept as they are.
4. h2 takes a GOAWAY in either direction as the end. Graceful shutdown (RFC 9113 section 6.8) goes on with
   the streams that are open.
Its settings are initial values, set before the preface is written: changed later they would hold only
after an acknowledgement.
"""

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from h2.config import DummyLogger, H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import FrameTooLargeError, ProtocolError
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes, Settings
from hyperframe.exceptions import InvalidDataError, InvalidFrameError
from hyperframe.frame import DataFrame, Frame

from libs.rpc.limits import CONTROL_FRAME_BYTES_MAX, HEADER_BYTES_MAX, RpcLimits

if TYPE_CHECKING:
    from h2._typing import Buffer

_HEADER = struct.Struct(">HBBBL")
_HEADER_BYTES = 9
_DATA, _END_STREAM, _PADDED = 0x0, 0x1, 0x8
_WINDOW_AT_START_BYTES = 65535

Part = bytes | memoryview


class _Silence(DummyLogger):
    """h2's own silent logger asks `logging` several times a frame whether it is silent."""

    def debug(self, *vargs: object, **kwargs: object) -> None:
        pass

    def trace(self, *vargs: object, **kwargs: object) -> None:
        pass


class _QuietDataFrame(DataFrame):
    def __repr__(self) -> str:
        return "DataFrame"


class _Parts:
    """The body of a DATA frame in pieces; h2 asks only for its length."""

    __slots__ = ("parts", "size_bytes")

    def __init__(self, parts: Sequence[Part], size_bytes: int) -> None:
        self.parts = parts
        self.size_bytes = size_bytes

    def __len__(self) -> int:
        return self.size_bytes


class _StreamingFrameBuffer(FrameBuffer):
    """Iterates frames; DATA without padding comes in as many pieces as it was read in."""

    def __init__(self, *, server: bool) -> None:
        super().__init__(server=server)
        self._chunk = memoryview(b"")
        self._position = 0
        self._data_left_bytes = 0
        self._data_stream_id = 0
        self._data_ends_stream = False

    def add_data(self, data: "Buffer") -> None:
        if self._preamble_len or self._data:
            super().add_data(data)
            data = bytes(self._data)
            self._data.clear()
        self._chunk = memoryview(data)
        self._position = 0

    def __next__(self) -> Frame:
        while True:
            if self._data_left_bytes:
                return self._data_piece()
            left = len(self._chunk) - self._position
            if left < _HEADER_BYTES:
                raise self._stash()
            high, low, kind, flags, stream_id = _HEADER.unpack_from(self._chunk, self._position)
            length = high << 8 | low
            self._validate_frame_length(length)
            if kind == _DATA and length and not flags & _PADDED and stream_id and not self._headers_buffer:
                self._position += _HEADER_BYTES
                self._data_left_bytes = length
                self._data_stream_id = stream_id & 0x7FFFFFFF
                self._data_ends_stream = bool(flags & _END_STREAM)
                continue
            if kind != _DATA and length > CONTROL_FRAME_BYTES_MAX:
                raise FrameTooLargeError(f"a control frame of {length} bytes")
            if left < _HEADER_BYTES + length:
                raise self._stash()
            frame = self._update_header_buffer(self._parse(length))
            if frame is not None:
                return frame

    def _stash(self) -> StopIteration:
        self._data += self._chunk[self._position :]
        self._chunk = memoryview(b"")
        self._position = 0
        return StopIteration()

    def _data_piece(self) -> Frame:
        taken = min(self._data_left_bytes, len(self._chunk) - self._position)
        if not taken:
            raise StopIteration
        frame = _QuietDataFrame(self._data_stream_id)
        frame.data = self._chunk[self._position : self._position + taken]  # type: ignore[assignment]
        frame.body_len = taken
        self._position += taken
        self._data_left_bytes -= taken
        if self._data_ends_stream and not self._data_left_bytes:
            frame.flags.add("END_STREAM")
        return frame

    def _parse(self, length: int) -> Frame:
        body_at = self._position + _HEADER_BYTES
        try:
            frame, _ = Frame.parse_frame_header(self._chunk[self._position : body_at])
            frame.parse_body(self._chunk[body_at : body_at + length])
        except (InvalidDataError, InvalidFrameError) as error:
            raise ProtocolError(f"a frame can't be read: {error}") from error
        self._position = body_at + length
        return frame


class TunedConnection(H2Connection):
    """An HTTP/2 connection whose output is taken in parts."""

    def __init__(self, *, client_side: bool, limits: RpcLimits) -> None:
        super().__init__(
            H2Configuration(
                client_side=client_side,
                header_encoding=None,
                # Ours are built right, and `headers` reads the peer's with care: gRPC ends here, nobody
                # behind us could be fooled by what h2 would refuse. A fifth of the time of a unary call.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                logger=_Silence(__name__),
            )
        )
        self.local_settings = Settings(
            client=client_side,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.calls_max,
                SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                SettingCodes.MAX_FRAME_SIZE: limits.frame_bytes_max,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_BYTES_MAX,
            },
        )
        self.max_inbound_frame_size = limits.frame_bytes_max
        self.decoder.max_header_list_size = HEADER_BYTES_MAX
        self.incoming_buffer = _StreamingFrameBuffer(server=not client_side)
        self._frame_dispatch_table[_QuietDataFrame] = self._receive_data_frame
        self.state_machine._transitions = {
            **self.state_machine._transitions,
            **{
                (state, goaway): (None, state)
                for state in (ConnectionState.IDLE, ConnectionState.CLIENT_OPEN, ConnectionState.SERVER_OPEN)
                for goaway in (ConnectionInputs.SEND_GOAWAY, ConnectionInputs.RECV_GOAWAY)
            },
        }
        self._parts: list[Part] = []
        self.output_bytes = 0
        self.initiate_connection()
        self.increment_flow_control_window(limits.connection_window_bytes - _WINDOW_AT_START_BYTES)

    def initiate_connection(self) -> None:
        super().initiate_connection()
        self._append(bytes(self._data_to_send))
        self._data_to_send.clear()

    def send_parts(self, stream_id: int, parts: Sequence[Part], size_bytes: int, *, end_stream: bool) -> None:
        """One DATA frame made of `parts`; the caller kept to the windows and the frame size."""
        self.send_data(stream_id, _Parts(parts, size_bytes), end_stream)  # type: ignore[arg-type]

    def window_bytes(self, stream_id: int) -> int:
        """How much DATA may be sent on a stream now."""
        return min(self.outbound_flow_control_window, self.streams[stream_id].outbound_flow_control_window)

    def take_output(self) -> list[Part]:
        """What has to be written, in order."""
        parts, self._parts = self._parts, []
        self.output_bytes = 0
        return parts

    def go_away(self, *, last_stream_id: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """A GOAWAY after which open streams go on."""
        self.close_connection(error_code=code, last_stream_id=last_stream_id)

    def clear_outbound_data_buffer(self) -> None:
        """Nothing: after the peer's GOAWAY our streams still have to be finished."""

    def _append(self, part: Part) -> None:
        self._parts.append(part)
        self.output_bytes += len(part)

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        for frame in frames:
            body = frame.data if isinstance(frame, DataFrame) else None
            if not isinstance(body, _Parts):
                self._append(frame.serialize())
                continue
            size = body.size_bytes
            flags = _END_STREAM if "END_STREAM" in frame.flags else 0
            self._append(_HEADER.pack(size >> 8, size & 0xFF, _DATA, flags, frame.stream_id))
            self._parts.extend(body.parts)
            self.output_bytes += size
