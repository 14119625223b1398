"""Offsets, epochs and append times written into a batch.

Owns: the few header fields that a broker sets. Does not own: which values (the owner assigns them).
Rules: 1 the records are never copied for offsets and epochs: the batch's CRC covers neither;
2 the append time is under the CRC, so that batch is copied and its CRC made anew (KIP-32).
"""

from crc32c import crc32c

from libs.model.buffers import Buffer
from libs.records.batch import BatchView
from libs.records.layout import (
    ATTRIBUTES,
    CRC,
    CRC_AT,
    CRC_FROM,
    HEADER,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    MAX_TIMESTAMP,
    MAX_TIMESTAMP_AT,
    PREFIX,
    PREFIX_BYTES,
)


def patched(batch: BatchView, *, base_offset: int, leader_epoch: int) -> tuple[bytes, memoryview]:
    """The batch with its final offset and epoch, as two buffers in a row; the second is not copied."""
    return PREFIX.pack(base_offset, batch.batch_length, leader_epoch), batch.data[PREFIX_BYTES:]


def patch_in_place(
    buffer: bytearray | memoryview, position: int, *, batch: BatchView, base_offset: int, leader_epoch: int
) -> None:
    """Writes final offset and epoch into the copy of `batch` that begins at `position` of `buffer`."""
    PREFIX.pack_into(buffer, position, base_offset, batch.batch_length, leader_epoch)


def patched_bytes(batch: BatchView, *, base_offset: int, leader_epoch: int) -> bytes:
    """The batch with its final offset and epoch as one copy."""
    return b"".join(patched(batch, base_offset=base_offset, leader_epoch=leader_epoch))


def with_log_append_time(batch: BatchView, timestamp_ms: int) -> BatchView:
    """A copy whose records all have the broker's time (message.timestamp.type=LogAppendTime).

    The bit in the attributes and the maximum timestamp say it for all records, which stay as they are.
    """
    data = bytearray(batch.data)
    ATTRIBUTES.pack_into(data, CRC_FROM, batch.attributes | LOG_APPEND_TIME_BIT)
    MAX_TIMESTAMP.pack_into(data, MAX_TIMESTAMP_AT, timestamp_ms)
    CRC.pack_into(data, CRC_AT, crc32c(memoryview(data)[CRC_FROM:]))
    return view_of(bytes(data))


def view_of(data: Buffer) -> BatchView:
    """The view of one batch that is known to be whole."""
    view = memoryview(data)
    batch = BatchView._make((*HEADER.unpack_from(view), view))
    assert batch.batch_length + LENGTH_PREFIX_BYTES == view.nbytes
    return batch
