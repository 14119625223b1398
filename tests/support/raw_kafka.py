"""A Kafka client that says exactly what it is told, for requests that no real client would send.

Owns: frames built by hand from the protocol's pages (https://kafka.apache.org/protocol.html).
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

API_PRODUCE, API_FETCH, API_METADATA, API_VERSIONS, API_CREATE_TOPICS = 0, 1, 3, 18, 19
SECONDS_MAX = 20.0


def frame(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload


def header(api_key: int, version: int, correlation_id: int = 7, client_id: bytes = b"raw") -> bytes:
    """Request header v1."""
    return struct.pack(">hhih", api_key, version, correlation_id, len(client_id)) + client_id


def string(text: bytes) -> bytes:
    return struct.pack(">h", len(text)) + text


def produce_v3(topic: bytes, partition: int, records: bytes, *, acks: int = -1) -> bytes:
    """A whole Produce request, version 3, with one partition."""
    body = struct.pack(">hhi", -1, acks, 5000) + struct.pack(">i", 1) + string(topic)
    body += struct.pack(">iii", 1, partition, len(records)) + records
    return frame(header(API_PRODUCE, 3) + body)


def produce_v3_error(answer: bytes) -> int:
    """The error code of the only partition in an answer to `produce_v3`."""
    name_length = struct.unpack_from(">h", answer, 8)[0]
    at = 4 + 4 + 2 + name_length + 4 + 4
    code: int = struct.unpack_from(">h", answer, at)[0]
    return code


class RawConnection:
    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive_frame(self) -> bytes | None:
        """The next answer without its length; None where the other side closed or reset."""
        size = self._exactly(4)
        return None if size is None else self._exactly(struct.unpack(">i", size)[0])

    def is_closed_by_peer(self) -> bool:
        """Waits until the other side closes; False where it sends something instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                chunk = self.socket.recv(count - len(data))
            except ConnectionError:
                return None
            if not chunk:
                return None
            data += chunk
        return data


@contextmanager
def connected(address: str) -> Iterator[RawConnection]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS_MAX) as connection:
        yield RawConnection(connection)
