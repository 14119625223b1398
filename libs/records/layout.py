"""The bytes of a record batch, magic 2, in one place with its arithmetic asserted.

Owns: field positions, sizes, attribute bits. Source: Kafka protocol, "Record Batch"; KIP-98; KIP-32.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

from libs.model.limits import MIB, RECORD_BATCH_BYTES_CEILING

HEADER: Final = Struct(">qiibIhiqqqhii")
"""base_offset, batch_length, partition_leader_epoch, magic, crc, attributes, last_offset_delta,
base_timestamp_ms, max_timestamp_ms, producer_id, producer_epoch, base_sequence, record_count."""
HEADER_BYTES: Final = 61

PREFIX: Final = Struct(">qii")
"""base_offset, batch_length, partition_leader_epoch: what the broker writes; the CRC covers none of it."""
PREFIX_BYTES: Final = 16

BATCH_LENGTH: Final = Struct(">i")
LENGTH_AT: Final = 8
LENGTH_PREFIX_BYTES: Final = 12  # base_offset and batch_length itself are not counted by batch_length
MAGIC_AT: Final = 16
CRC: Final = Struct(">I")
CRC_AT: Final = 17
ATTRIBUTES: Final = Struct(">h")
CRC_FROM: Final = 21  # the CRC covers attributes .. end of the batch
MAX_TIMESTAMP: Final = Struct(">q")
MAX_TIMESTAMP_AT: Final = 35

MAGIC_V2: Final = 2

CODEC_MASK: Final = 0x07
LOG_APPEND_TIME_BIT: Final = 0x08
TRANSACTIONAL_BIT: Final = 0x10
CONTROL_BIT: Final = 0x20

SEQUENCE_MODULUS: Final = 1 << 31  # sequences wrap from 2^31 - 1 to 0

RECORD_BYTES_MIN: Final = (
    7  # length, attributes, two deltas, key length, value length, header count: a byte each
)
DECOMPRESSED_BYTES_MAX: Final = 64 * MIB
RECORDS_PER_BATCH_MAX: Final = DECOMPRESSED_BYTES_MAX // RECORD_BYTES_MIN


class Codec(IntEnum):
    """How the records of a batch are compressed: attribute bits 0 to 2."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class TimestampType(IntEnum):
    """Attribute bit 3 (KIP-32)."""

    CREATE_TIME = 0
    LOG_APPEND_TIME = 1


assert HEADER.size == HEADER_BYTES
assert PREFIX.size == PREFIX_BYTES == MAGIC_AT
assert Struct(">qiib").size == CRC_AT
assert CRC_AT + CRC.size == CRC_FROM
assert Struct(">qiibIhiq").size == MAX_TIMESTAMP_AT
assert RECORD_BATCH_BYTES_CEILING < DECOMPRESSED_BYTES_MAX
assert RECORDS_PER_BATCH_MAX < SEQUENCE_MODULUS
