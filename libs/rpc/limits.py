"""Every bound of a gRPC connection, in one value.

Owns: sizes, counts and times of `libs/rpc`. Does not own: what the services send.
Rules: 1 a slow reader costs at most `stream_window_bytes` a call and `connection_buffer_bytes` a
connection, plus one message under way; 2 a slow peer costs at most `send_buffer_bytes` a call plus one
message.
"""

from dataclasses import dataclass

from libs.model.limits import KIB, MIB, RPC_MESSAGE_BYTES_MAX

H2_FRAME_BYTES_MIN = 16 * KIB  # RFC 9113 section 4.2
H2_FRAME_BYTES_MAX = 16 * MIB - 1
H2_WINDOW_BYTES_MIN = 64 * KIB - 1  # RFC 9113 section 6.9.2
H2_WINDOW_BYTES_MAX = 2**31 - 1
HEADER_BYTES_MAX = 64 * KIB
CONTROL_FRAME_BYTES_MAX = 64 * KIB
CONTROL_BUFFER_BYTES = 1 * MIB  # answers to pings and settings that may wait to be written
WRITE_CHUNK_BYTES = 256 * KIB
READ_CHUNK_BYTES = 256 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """Bounds of one channel or server. Sizes in bytes, times in seconds; checked when created."""

    receive_message_bytes_max: int = RPC_MESSAGE_BYTES_MAX
    send_message_bytes_max: int = RPC_MESSAGE_BYTES_MAX
    stream_window_bytes: int = 4 * MIB
    connection_window_bytes: int = 16 * MIB
    connection_buffer_bytes: int = 64 * MIB
    send_buffer_bytes: int = 512 * KIB
    frame_bytes_max: int = 1 * MIB
    calls_max: int = 1024
    connections_max: int = 1024
    connect_timeout_seconds: float = 5.0
    handshake_timeout_seconds: float = 10.0
    backoff_first_seconds: float = 0.05
    backoff_max_seconds: float = 2.0
    keepalive_interval_seconds: float = 10.0
    keepalive_timeout_seconds: float = 5.0
    close_timeout_seconds: float = 1.0

    def __post_init__(self) -> None:
        assert H2_FRAME_BYTES_MIN <= self.frame_bytes_max <= H2_FRAME_BYTES_MAX
        assert H2_WINDOW_BYTES_MIN <= self.stream_window_bytes <= H2_WINDOW_BYTES_MAX
        assert self.stream_window_bytes <= self.connection_window_bytes <= H2_WINDOW_BYTES_MAX
        assert self.stream_window_bytes <= self.connection_buffer_bytes
        assert min(self.receive_message_bytes_max, self.send_message_bytes_max, self.send_buffer_bytes) > 0
        assert self.calls_max > 0
        assert self.connections_max > 0


DEFAULT_LIMITS = RpcLimits()
