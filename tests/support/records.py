"""Record batches for tests: a small encoder and decoder of their own, so that production code is not its own
judge.

Owns: uncompressed batches, any codec by a ready payload. Does not own: what a broker accepts.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from crc32c import crc32c

EPOCH_MS = 1_700_000_000_000


class Record(NamedTuple):
    """One record; `timestamp_ms` absolute."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int = EPOCH_MS
    headers: tuple[tuple[str, bytes | None], ...] = ()


def encode_batch(
    records: Sequence[Record],
    *,
    base_offset: int = 0,
    leader_epoch: int = -1,
    attributes: int = 0,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    payload: bytes | None = None,
) -> bytes:
    """A valid batch of magic 2. `payload`: the records as they were compressed for `attributes`."""
    base_timestamp_ms = records[0].timestamp_ms
    if payload is None:
        payload = encode_records(records)
    body = struct.pack(
        ">hiqqqhii",
        attributes,
        len(records) - 1,
        base_timestamp_ms,
        max(record.timestamp_ms for record in records),
        producer_id,
        producer_epoch,
        base_sequence,
        len(records),
    )
    return frame(body + payload, base_offset=base_offset, leader_epoch=leader_epoch)


def frame(body: bytes, *, base_offset: int = 0, leader_epoch: int = -1, magic: int = 2) -> bytes:
    """What comes before the attributes, with the right CRC and length, whatever `body` is."""
    return struct.pack(">qiibI", base_offset, 9 + len(body), leader_epoch, magic, crc32c(body)) + body


def encode_records(records: Sequence[Record]) -> bytes:
    """The records of a batch, uncompressed."""
    out = bytearray()
    for delta, record in enumerate(records):
        body = bytearray(b"\0")
        body += varint(record.timestamp_ms - records[0].timestamp_ms) + varint(delta)
        body += _bytes(record.key) + _bytes(record.value) + varint(len(record.headers))
        for name, value in record.headers:
            body += _bytes(name.encode()) + _bytes(value)
        out += varint(len(body)) + body
    return bytes(out)


def decode_batch(batch: bytes | memoryview) -> list[tuple[int, Record]]:
    """(offset, record) of an uncompressed batch."""
    view = bytes(batch)
    base_offset = struct.unpack_from(">q", view)[0]
    base_timestamp_ms, count = struct.unpack_from(">q", view, 27)[0], struct.unpack_from(">i", view, 57)[0]
    position = 61
    records: list[tuple[int, Record]] = []
    for _ in range(count):
        _, position = _read_varint(view, position)
        timestamp_delta, position = _read_varint(view, position + 1)
        offset_delta, position = _read_varint(view, position)
        key, position = _read_bytes(view, position)
        value, position = _read_bytes(view, position)
        header_count, position = _read_varint(view, position)
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(header_count):
            name, position = _read_bytes(view, position)
            header_value, position = _read_bytes(view, position)
            headers.append(((name or b"").decode(), header_value))
        record = Record(key, value, base_timestamp_ms + timestamp_delta, tuple(headers))
        records.append((base_offset + offset_delta, record))
    return records


def varint(value: int) -> bytes:
    """Zigzag varint."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def _read_varint(view: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position


def _read_bytes(view: bytes, position: int) -> tuple[bytes | None, int]:
    length, position = _read_varint(view, position)
    if length < 0:
        return None, position
    return view[position : position + length], position + length
