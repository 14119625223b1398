"""Which record of a batch is the first at or after a time: ListOffsets by timestamp.

Owns: the only place that looks inside a batch. Does not own: choosing the batch (by its maximum timestamp).
Rules: 1 what comes out of a compressed payload is bounded before it is held; 2 a client may have written
anything as payload under a good CRC: that is Invalid, never Corrupt, and nothing else is ever raised;
3 it takes time in proportion to the records of one batch: call it in a thread, not on the hot path.
Sources: Kafka protocol, "Record"; KIP-79. Snappy comes plain or in xerial's frames; LZ4 is the frame format.
"""

from collections.abc import Iterator
from mmap import mmap
from struct import Struct
from typing import NamedTuple

import cramjam

from libs.model.buffers import Buffer
from libs.model.errors import Invalid, Reason
from libs.model.ids import NO_TIMESTAMP_MS
from libs.records.batch import BatchView
from libs.records.layout import (
    DECOMPRESSED_BYTES_MAX,
    HEADER_BYTES,
    LOG_APPEND_TIME_BIT,
    RECORD_BYTES_MIN,
    Codec,
)

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16  # magic, version, lowest compatible version
_XERIAL_BLOCK = Struct(">I")
_VARINT_BYTES_MAX = 10


class TimestampedOffset(NamedTuple):
    """A record by its offset and its timestamp."""

    offset: int
    timestamp_ms: int


def find_offset_for_timestamp(
    batch: BatchView,
    timestamp_ms: int,
    *,
    least_offset: int = 0,
    decompressed_bytes_max: int = DECOMPRESSED_BYTES_MAX,
) -> TimestampedOffset | None:
    """The first record from `least_offset` on whose timestamp is at or after `timestamp_ms`; None when the
    batch has none.

    `batch` has its final offset. Raises Invalid (CORRUPT_MESSAGE, or MESSAGE_TOO_LARGE beyond
    `decompressed_bytes_max`) when the payload is no list of records: the header is then all there is.
    """
    if batch.max_timestamp_ms < timestamp_ms or batch.last_offset < least_offset:
        return None
    if batch.attributes & LOG_APPEND_TIME_BIT:
        return TimestampedOffset(max(batch.base_offset, least_offset), batch.max_timestamp_ms)
    for found in _records(batch, decompressed_bytes_max):
        if found.timestamp_ms >= timestamp_ms and found.offset >= least_offset:
            return found
    return None


def greatest_timestamp(
    batch: BatchView, *, least_offset: int, decompressed_bytes_max: int = DECOMPRESSED_BYTES_MAX
) -> int:
    """The greatest timestamp of the batch's records from `least_offset` on; -1 where there are none.

    Raises Invalid like `find_offset_for_timestamp`.
    """
    if batch.base_offset >= least_offset or batch.attributes & LOG_APPEND_TIME_BIT:
        return batch.max_timestamp_ms if batch.last_offset >= least_offset else NO_TIMESTAMP_MS
    records = _records(batch, decompressed_bytes_max)
    times_ms = (each.timestamp_ms for each in records if each.offset >= least_offset)
    return max(times_ms, default=NO_TIMESTAMP_MS)


def decompress(batch: BatchView, *, decompressed_bytes_max: int = DECOMPRESSED_BYTES_MAX) -> memoryview:
    """The records of a batch as plain bytes. Raises Invalid like `find_offset_for_timestamp`."""
    payload = batch.data[HEADER_BYTES:]
    codec = batch.codec
    try:
        if codec is Codec.NONE:
            return payload
        if codec is Codec.SNAPPY:
            return memoryview(b"".join(_snappy_blocks(payload, decompressed_bytes_max)))
        module = {Codec.GZIP: cramjam.gzip, Codec.LZ4: cramjam.lz4, Codec.ZSTD: cramjam.zstd}[codec]
        # Anonymous pages are only taken when they are written: the bound costs nothing until it is used.
        with mmap(-1, decompressed_bytes_max) as plain:
            return memoryview(plain[: module.decompress_into(payload, plain)])
    except cramjam.DecompressionError as error:
        raise _corrupt(f"the {codec.name} payload of a record batch can't be read: {error}") from error


def _snappy_blocks(payload: memoryview, bytes_max: int) -> Iterator[bytes]:
    left = bytes_max
    for block in _xerial_blocks(payload) if payload[:8] == _XERIAL_MAGIC else (payload,):
        left -= cramjam.snappy.decompress_raw_len(block)
        if left < 0:
            raise Invalid(f"a payload exceeds {bytes_max} bytes", reason=Reason.MESSAGE_TOO_LARGE)
        yield bytes(cramjam.snappy.decompress_raw(block))


def _xerial_blocks(payload: memoryview) -> Iterator[memoryview]:
    position = _XERIAL_HEADER_BYTES
    while position < payload.nbytes:
        if position + _XERIAL_BLOCK.size > payload.nbytes:
            raise _corrupt("a snappy frame is cut off")
        (size,) = _XERIAL_BLOCK.unpack_from(payload, position)
        position += _XERIAL_BLOCK.size
        if size > payload.nbytes - position:
            raise _corrupt("a snappy frame announces more bytes than there are")
        yield payload[position : position + size]
        position += size


def _records(batch: BatchView, decompressed_bytes_max: int) -> Iterator[TimestampedOffset]:
    payload = decompress(batch, decompressed_bytes_max=decompressed_bytes_max)
    for offset_delta, timestamp_delta in _record_deltas(payload, batch.record_count):
        timestamp_ms = batch.base_timestamp_ms + timestamp_delta
        if not 0 <= offset_delta <= batch.last_offset_delta or timestamp_ms > batch.max_timestamp_ms:
            raise _corrupt(f"a record at delta {offset_delta}, time {timestamp_ms} is not in its batch")
        yield TimestampedOffset(batch.base_offset + offset_delta, timestamp_ms)


def _record_deltas(payload: Buffer, record_count: int) -> Iterator[tuple[int, int]]:
    """(offset delta, timestamp delta) of each record."""
    view = memoryview(payload)
    size = view.nbytes
    position = 0
    for _ in range(record_count):
        length, position = _varint(view, position, size)
        end = position + length
        if length < RECORD_BYTES_MIN - 1 or end > size:
            raise _corrupt(f"a record of {length} bytes can't be at position {position} of {size}")
        timestamp_delta, at = _varint(view, position + 1, end)
        offset_delta, _ = _varint(view, at, end)
        yield offset_delta, timestamp_delta
        position = end


def _varint(view: memoryview, position: int, end: int) -> tuple[int, int]:
    """A zigzag varint and the position after it."""
    value = 0
    for index in range(_VARINT_BYTES_MAX):
        at = position + index
        if at >= end:
            raise _corrupt("a record is cut off")
        byte = view[at]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at + 1
    raise _corrupt("a record has a number of more than ten bytes")


def _corrupt(message: str) -> Invalid:
    return Invalid(message, reason=Reason.CORRUPT_MESSAGE)
