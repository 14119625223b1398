"""A record batch as a view: the header as values, the records left as they came.

Owns: framing of a blob of batches, the view. Does not own: what a broker accepts (`validate.py`), changing a
batch (`patch.py`), records inside (`timestamps.py`).
Rules: 1 nothing here looks at a record, or copies one; 2 whatever the bytes are, only Invalid is raised.
"""

from collections.abc import Iterator
from typing import NamedTuple

from libs.model.buffers import Buffer
from libs.model.errors import Invalid, Reason
from libs.records.layout import (
    BATCH_LENGTH,
    CODEC_MASK,
    CONTROL_BIT,
    HEADER,
    HEADER_BYTES,
    LENGTH_AT,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    MAGIC_AT,
    MAGIC_V2,
    SEQUENCE_MODULUS,
    TRANSACTIONAL_BIT,
    Codec,
    TimestampType,
)


class BatchView(NamedTuple):
    """The header of one batch and the memory that holds it. A tuple: a dataclass costs four times as much.

    The first thirteen fields are the header's, in the order of the wire. `data` is the whole batch.
    """

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int
    data: memoryview

    @property
    def size_bytes(self) -> int:
        return self.batch_length + LENGTH_PREFIX_BYTES

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def codec(self) -> Codec:
        """Raises Invalid for a codec that Kafka doesn't have."""
        try:
            return Codec(self.attributes & CODEC_MASK)
        except ValueError:
            raise Invalid(
                f"a record batch is compressed with the unknown codec {self.attributes & CODEC_MASK}",
                reason=Reason.INVALID_RECORD,
            ) from None

    @property
    def timestamp_type(self) -> TimestampType:
        return (
            TimestampType.LOG_APPEND_TIME
            if self.attributes & LOG_APPEND_TIME_BIT
            else TimestampType.CREATE_TIME
        )

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL_BIT)

    @property
    def is_idempotent(self) -> bool:
        """Whether the batch carries a producer id and so sequences (KIP-98)."""
        return self.producer_id >= 0

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record, wrapped; -1 without a producer id."""
        if self.producer_id < 0:
            return -1
        return (self.base_sequence + self.last_offset_delta) % SEQUENCE_MODULUS


def iter_batches(records: Buffer) -> Iterator[BatchView]:
    """The batches of `records`, one after the other; `records` holds whole batches only.

    Raises Invalid: UNSUPPORTED_MAGIC for all but magic 2 (0 and 1 have that byte in the same place),
    CORRUPT_MESSAGE for a length that can't be and for bytes that are no whole batch.
    """
    view = memoryview(records)
    size = view.nbytes
    position = 0
    while position < size:
        batch = _batch_at(view, position, size)
        yield batch
        position += batch.data.nbytes


def split_batches(records: Buffer) -> tuple[BatchView, ...]:
    """`iter_batches` as a tuple; () for no bytes. Raises Invalid like it."""
    return tuple(iter_batches(records))


def whole_batches(records: Buffer) -> tuple[BatchView, ...]:
    """The batches that are whole, where the bytes may be cut off at their end (a ranged read).

    Raises Invalid like `iter_batches` for everything but a cut tail.
    """
    view = memoryview(records)
    size = view.nbytes
    batches: list[BatchView] = []
    position = 0
    while position + LENGTH_PREFIX_BYTES <= size:
        (batch_length,) = BATCH_LENGTH.unpack_from(view, position + LENGTH_AT)
        if position + LENGTH_PREFIX_BYTES + batch_length > size:
            break
        batches.append(_batch_at(view, position, size))
        position += batches[-1].data.nbytes
    return tuple(batches)


def _batch_at(view: memoryview, position: int, size: int) -> BatchView:
    """The batch at `position`; raises Invalid unless its header and all of its bytes are there."""
    left = size - position
    if left <= MAGIC_AT:
        raise _corrupt(f"{left} bytes at position {position} are too few for a record batch")
    magic = view[position + MAGIC_AT]
    if magic != MAGIC_V2:
        raise Invalid(
            f"a record batch has magic {magic}; only {MAGIC_V2} is served (Kafka 0.11 and later)",
            reason=Reason.UNSUPPORTED_MAGIC,
        )
    (batch_length,) = BATCH_LENGTH.unpack_from(view, position + LENGTH_AT)
    frame_bytes = int(batch_length) + LENGTH_PREFIX_BYTES
    if frame_bytes < HEADER_BYTES:
        raise _corrupt(f"a record batch announces {batch_length} bytes, fewer than its own header")
    if frame_bytes > left:
        raise _corrupt(f"a record batch announces {frame_bytes} bytes, but only {left} are there")
    return BatchView._make((*HEADER.unpack_from(view, position), view[position : position + frame_bytes]))


def _corrupt(message: str) -> Invalid:
    return Invalid(message, reason=Reason.CORRUPT_MESSAGE)
