"""A Kafka client that says exactly what it is told, for requests that no real client would send.

Owns: frames built by hand from the protocol's pages (https://kafka.apache.org/protocol.html), single requests
of any API, batches as they are stored.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from tests.support.kafka_wire import read_answer, request_frame, with_length

API_PRODUCE, API_FETCH, API_METADATA, API_VERSIONS, API_CREATE_TOPICS = 0, 1, 3, 18, 19
SECONDS_MAX = 20.0
FETCH_BYTES_MAX = 16 * 1024 * 1024


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


def ask(address: str, api_key: int, version: int, **values: Any) -> Any:
    """One request on a connection of its own; the answer as kio reads it. `values`: see kafka_wire.entity."""
    with connected(address) as connection:
        connection.send(with_length(request_frame(api_key, version, values)))
        answer = connection.receive_frame()
        assert answer is not None, f"API {api_key} version {version} was not answered"
        return read_answer(api_key, version, answer)[1]


class StoredBatch(NamedTuple):
    """What the header of a v2 batch says."""

    base_offset: int
    records: int
    codec: int
    """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
    producer_id: int


def stored_batches(address: str, topic: str, partition: int, *, offset: int = 0) -> list[StoredBatch]:
    """Every batch of a partition from `offset` on, as the gateway at `address` gives it out."""
    found: list[StoredBatch] = []
    while True:
        records, high_watermark = _fetch(address, topic, partition, offset)
        for batch in _headers(records):
            found.append(batch)
            offset = batch.base_offset + batch.records
        if offset >= high_watermark:
            return found


def _fetch(address: str, topic: str, partition: int, offset: int) -> tuple[bytes, int]:
    asked = {"partition": partition, "fetch_offset": offset, "partition_max_bytes": FETCH_BYTES_MAX}
    answer = ask(
        address,
        API_FETCH,
        4,
        replica_id=-1,
        max_wait=timedelta(seconds=1),
        max_bytes=FETCH_BYTES_MAX,
        topics=[{"topic": topic, "partitions": [asked]}],
    )
    data = answer.responses[0].partitions[0]
    assert int(data.error_code) == 0, data.error_code
    return bytes(data.records or b""), data.high_watermark


def _headers(records: bytes) -> Iterator[StoredBatch]:
    at = 0
    while at < len(records):
        base_offset, length = struct.unpack_from(">qi", records, at)
        attributes = struct.unpack_from(">h", records, at + 21)[0]
        producer_id, count = (
            struct.unpack_from(">q", records, at + 43)[0],
            struct.unpack_from(">i", records, at + 57)[0],
        )
        yield StoredBatch(base_offset, count, attributes & 7, producer_id)
        at += 12 + length
