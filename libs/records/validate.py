"""What a broker accepts from a client, and what a stored batch must still be.

Owns: the checks of one batch. Does not own: order of sequences between batches (the owner's producer state),
topic settings (they are handed in).
Rules: 1 the payload is never decompressed nor walked: a batch is one CRC pass and a handful of comparisons;
2 each refusal is the reason that Kafka's broker gives, where Kafka refuses it too.
Sources: Kafka protocol, "Record Batch"; KIP-98; KIP-32; Kafka's LogValidator for which checks there are.
"""

from crc32c import crc32c

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt, Invalid, Reason
from libs.model.limits import RECORD_BATCH_BYTES_MAX
from libs.records.batch import BatchView, iter_batches
from libs.records.layout import (
    CODEC_MASK,
    CRC_FROM,
    HEADER_BYTES,
    LOG_APPEND_TIME_BIT,
    MAGIC_V2,
    RECORD_BYTES_MIN,
    RECORDS_PER_BATCH_MAX,
    Codec,
)


def validate_records(
    records: Buffer, *, batch_bytes_max: int = RECORD_BATCH_BYTES_MAX
) -> tuple[BatchView, ...]:
    """The batches of a partition's records in a Produce request, at least one, each of them valid.

    Raises Invalid like `iter_batches` and `validate_batch`, and INVALID_RECORD where there is no batch.
    """
    batches: list[BatchView] = []
    for batch in iter_batches(records):
        validate_batch(batch, batch_bytes_max=batch_bytes_max)
        batches.append(batch)
    if not batches:
        raise Invalid("a produce request needs at least one record batch", reason=Reason.INVALID_RECORD)
    return tuple(batches)


def validate_batch(batch: BatchView, *, batch_bytes_max: int = RECORD_BATCH_BYTES_MAX) -> None:
    """Raises Invalid unless a client may append this batch.

    Reasons: UNSUPPORTED_MAGIC, MESSAGE_TOO_LARGE (more than `batch_bytes_max`), CORRUPT_MESSAGE (CRC32C),
    INVALID_TIMESTAMP, INVALID_RECORD (counts, codec, sequences; control and transactional batches).
    """
    if batch.magic != MAGIC_V2:
        raise Invalid(f"magic {batch.magic} is not served", reason=Reason.UNSUPPORTED_MAGIC)
    if batch.size_bytes > batch_bytes_max:
        raise Invalid(
            f"a record batch of {batch.size_bytes} bytes is larger than the topic's {batch_bytes_max}",
            reason=Reason.MESSAGE_TOO_LARGE,
        )
    if batch.size_bytes != batch.data.nbytes or crc32c(batch.data[CRC_FROM:]) != batch.crc:
        raise Invalid("the CRC of a record batch is wrong: it was damaged", reason=Reason.CORRUPT_MESSAGE)
    if batch.attributes:
        _check_attributes(batch)
    _check_counts(batch)
    if batch.max_timestamp_ms < -1:
        raise Invalid(
            f"a record batch has the maximum timestamp {batch.max_timestamp_ms}",
            reason=Reason.INVALID_TIMESTAMP,
        )
    _check_producer(batch)


def verify_stored(
    data: Buffer, *, base_offset: int, record_count: int, leader_epoch: int | None = None
) -> tuple[BatchView, ...]:
    """The batches of a stored range: intact, contiguous, and exactly the offsets that the range claims.

    `leader_epoch` None: epochs may differ (a compacted segment). Raises Corrupt. The CRC of a batch covers
    neither its offset nor its epoch, so these are compared with what the range says.
    """
    expected = base_offset
    batches: list[BatchView] = []
    try:
        for batch in iter_batches(data):
            if crc32c(batch.data[CRC_FROM:]) != batch.crc:
                raise Corrupt(f"the stored batch at offset {expected} has a wrong CRC")
            if batch.base_offset != expected or batch.last_offset_delta < 0:
                raise Corrupt(
                    f"the stored batch at offset {expected} says {batch.base_offset}..{batch.last_offset}"
                )
            if leader_epoch is not None and batch.partition_leader_epoch != leader_epoch:
                raise Corrupt(
                    f"the stored batch at offset {expected} says epoch {batch.partition_leader_epoch},"
                    f" its range {leader_epoch}"
                )
            batches.append(batch)
            expected = batch.next_offset
    except Invalid as error:
        raise Corrupt(f"after offset {expected}: {error.message}") from error
    if expected != base_offset + record_count:
        raise Corrupt(f"a stored range ends at offset {expected}, not at {base_offset + record_count}")
    return tuple(batches)


def _check_attributes(batch: BatchView) -> None:
    if batch.is_control:
        raise _invalid_record("clients may not write control batches")
    if batch.is_transactional:
        raise _invalid_record("transactional batches are not served")
    if batch.attributes & LOG_APPEND_TIME_BIT:
        raise Invalid("only a broker sets the log append time", reason=Reason.INVALID_TIMESTAMP)
    if batch.attributes & ~CODEC_MASK:
        raise _invalid_record(f"a record batch has unknown attributes {batch.attributes & 0xFFFF:#06x}")
    _ = batch.codec  # raises for a codec that Kafka does not have


def _check_counts(batch: BatchView) -> None:
    if batch.record_count <= 0 or batch.record_count != batch.last_offset_delta + 1:
        raise _invalid_record(
            f"a record batch of {batch.record_count} records spans {batch.last_offset_delta + 1} offsets"
        )
    # A count that its bytes can't hold would burn offsets for nothing; a codec hides how many bytes.
    if batch.attributes & CODEC_MASK == Codec.NONE:
        fits = (batch.size_bytes - HEADER_BYTES) // RECORD_BYTES_MIN
    else:
        fits = RECORDS_PER_BATCH_MAX
    if batch.record_count > fits:
        raise _invalid_record(f"{batch.record_count} records can't be in a batch of {batch.size_bytes} bytes")


def _check_producer(batch: BatchView) -> None:
    # Without a producer id, epoch and sequence mean nothing: some clients leave 0 there.
    if batch.producer_id == -1:
        return
    if batch.producer_id < -1 or batch.producer_epoch < 0 or batch.base_sequence < 0:
        raise _invalid_record(
            f"a record batch has producer id {batch.producer_id}, epoch {batch.producer_epoch},"
            f" sequence {batch.base_sequence}"
        )


def _invalid_record(message: str) -> Invalid:
    return Invalid(message, reason=Reason.INVALID_RECORD)
