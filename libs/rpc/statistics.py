"""What channels and servers tell about themselves. Owns: the values. Does not own: where they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """Counts since the channel was opened; `calls_started` by path; bytes on the wire, payloads in memory."""

    address: str
    connected: bool
    connections_opened: int
    calls_in_flight: int
    calls_started: Mapping[str, int]
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatistics:
    """Counts since the server was made; `connections` and `calls_in_flight` are of now."""

    connections: int
    connections_max: int
    connections_accepted: int
    calls_in_flight: int
    calls_started: Mapping[str, int]
    sent_bytes: int
    received_bytes: int
