"""Every size and magic of our object formats, in one place with its arithmetic asserted.

Owns: field positions and bounds of chain objects, chain indexes, start markers, segments, segment indexes,
manifests, topic objects and snapshots. Does not own: what the fields mean (each format's module).
Rules: 1 all numbers are big-endian, as in Kafka's formats; 2 every format has a version byte, and a reader
refuses a version, a kind or a flag that it doesn't know; 3 a change of layout is a new version, never an
edit.
"""

from struct import Struct
from typing import Final

from libs.model.limits import CHAIN_INDEX_EVERY, CHAIN_OBJECT_BYTES_MAX, MIB, VALUE_BYTES_MAX

NONCE_BYTES: Final = 16
UUID_BYTES: Final = 16
CRC: Final = Struct(">I")
BATCH_BYTES_MIN: Final = 61  # a v2 record batch's header

# Chain objects (data and seals): head | batches | footer | trailer.
CHAIN_VERSION: Final = 1
CHAIN_HEAD: Final = Struct(">4sBB2s")  # magic, version, kind, zeros
CHAIN_HEAD_BYTES: Final = 8
CHAIN_MAGIC: Final = b"KWAL"
CHAIN_KIND_DATA: Final = 1
CHAIN_KIND_SEAL: Final = 2

CHAIN_TRAILER: Final = Struct(">IIq16sQ16sBB2s")
"""footer bytes, data bytes, created_ms, session, seq, nonce, version, kind, zeros; CHAIN_TRAILER_END
follows.
"""
CHAIN_TRAILER_END: Final = Struct(">I4s")  # CRC32C of the footer and of the trailer before it, magic
CHAIN_TRAILER_BYTES: Final = 68
CHAIN_END_MAGIC: Final = b"LAWK"

FOOTER_HEAD: Final = Struct(">II")  # ranges, producer runs
RANGE: Final = Struct(">16siiqqIIqI")
"""topic id, partition, leader epoch, base offset, records, position, bytes, max_timestamp_ms, producer
runs.
"""
RANGE_BYTES: Final = 60
RUN: Final = Struct(">qhiiqq")
"""producer id, producer epoch, base sequence, last sequence, base offset, max_timestamp_ms."""
RUN_BYTES: Final = 34
FOOTER_BYTES_MAX: Final = 16 * MIB

SEAL_HEAD: Final = Struct(">16sH")  # sealer's session, length of the sealer's owner name
OWNER_NAME_BYTES_MAX: Final = 255
SUFFIX_BYTES_HINT: Final = 16 * 1024  # what a reader of a chain's tail asks for first

# Chain indexes: head | partition table | parts.
INDEX_VERSION: Final = 1
INDEX_HEAD: Final = Struct(">4sB3s16sQII")
"""magic, version, zeros, session, first seq, chain objects, partitions; after the table comes a CRC32C of
both.
"""
INDEX_HEAD_BYTES: Final = 40
INDEX_MAGIC: Final = b"KIDX"
INDEX_ENTRY: Final = Struct(
    ">16siIII"
)  # topic id, partition, position of its part, bytes, CRC32C of its part
INDEX_ENTRY_BYTES: Final = 32
INDEX_SEQ: Final = Struct(">I")  # a part begins with its count of ranges, then seq - first seq of each
INDEX_BYTES_MAX: Final = 64 * MIB

# Start markers.
MARKER_VERSION: Final = 1
MARKER: Final = Struct(
    ">4sB3s16sQ16sq"
)  # magic, version, zeros, session, seq, nonce, created_ms; a CRC32C follows
MARKER_BYTES: Final = 60
MARKER_MAGIC: Final = b"KSTM"

# Compacted segments (.kfs) and their indexes.
SEGMENT_VERSION: Final = 1
SEGMENT_HEAD: Final = Struct(
    ">IHHqIqI"
)  # magic, version, flags, base offset, record count, created_ms, reserved
SEGMENT_HEAD_BYTES: Final = 32
SEGMENT_MAGIC: Final = 0x4B414653  # "KAFS"
SEGMENT_FOOTER: Final = Struct(">IqI")  # CRC32 of head, batches and last offset; last offset; magic
SEGMENT_FOOTER_BYTES: Final = 16
SEGMENT_LAST_OFFSET: Final = Struct(">q")  # as the CRC sees it
SEGMENT_END_MAGIC: Final = 0x454E4421  # "END!"
SEGMENT_BYTES_DEFAULT: Final = 100 * MIB
SEGMENT_BYTES_MAX: Final = 1024 * MIB
SEGMENT_RECORDS_MAX: Final = (1 << 32) - 1

SEGMENT_INDEX_VERSION: Final = 1
SEGMENT_INDEX_HEAD: Final = Struct(
    ">3sBIII"
)  # magic, version, offset entries, interval in bytes, time entries
SEGMENT_INDEX_HEAD_BYTES: Final = 16
SEGMENT_INDEX_MAGIC: Final = b"IDX"  # 0x494458
OFFSET_ENTRY: Final = Struct(">qI")  # offset, position in the segment object
OFFSET_ENTRY_BYTES: Final = 12
TIME_ENTRY: Final = Struct(
    ">qq"
)  # every record below offset is at or before timestamp_ms: timestamp_ms, offset
TIME_ENTRY_BYTES: Final = 16
INDEX_INTERVAL_BYTES: Final = 4096
SEGMENT_INDEX_BYTES_MAX: Final = 64 * MIB

# Manifests (.kfm): head | segments | epochs | producers and their runs | CRC32C.
MANIFEST_VERSION: Final = 1
MANIFEST_HEAD: Final = Struct(">4sB3s16siIQqqqIII")
"""magic, version, zeros, topic id, partition, leader epoch, n, created_ms, log start, end offset,
segments, epochs, producers."""
MANIFEST_HEAD_BYTES: Final = 76
MANIFEST_MAGIC: Final = b"KFSM"
MANIFEST_SEGMENT: Final = Struct(">qqIQQIq16s")
"""base offset, last offset, leader epoch of its key, records, bytes, bytes of its index, max_timestamp_ms,
nonce.
"""
MANIFEST_SEGMENT_BYTES: Final = 64
MANIFEST_EPOCH: Final = Struct(">iq")  # leader epoch, first offset
MANIFEST_PRODUCER: Final = Struct(">qhqB")  # producer id, epoch, last_timestamp_ms, runs
MANIFEST_RUN: Final = Struct(">hiiqq")  # epoch, base sequence, last sequence, base offset, max_timestamp_ms
MANIFEST_BYTES_MAX: Final = 64 * MIB

# Topic objects and tombstones: head | name | configs (name, value) | CRC32C.
TOPIC_VERSION: Final = 1
TOPIC_HEAD: Final = Struct(">4sB3s16sIIqqHI")
"""magic, version, zeros, topic id, n, partitions, the topic's created_ms, written_ms, name bytes, configs."""
TOPIC_HEAD_BYTES: Final = 54
TOPIC_MAGIC: Final = b"KTOP"
TOPIC_CONFIG: Final = Struct(">HI")  # bytes of the name, bytes of the value
TOPIC_BYTES_MAX: Final = 2 * MIB

TOMBSTONE_VERSION: Final = 1
TOMBSTONE_HEAD: Final = Struct(
    ">4sB3s16sqH"
)  # magic, version, zeros, topic id, deleted_ms, bytes of the name
TOMBSTONE_HEAD_BYTES: Final = 34
TOMBSTONE_MAGIC: Final = b"KDEL"

# The store's id: all of it | CRC32C.
STORE_ID: Final = Struct(">4sB3s16s")  # magic, version, zeros, id
STORE_ID_VERSION: Final = 1
STORE_ID_BYTES: Final = 28
STORE_ID_MAGIC: Final = b"KSID"

# Snapshots of the metadata store: head | entries (key, value) | CRC32C.
SNAPSHOT_VERSION: Final = 1
SNAPSHOT_HEAD: Final = Struct(">4sB3sqqIII32s")
"""magic, version, zeros, created_ms, revision, part, parts (0 but in the last), entries, digest of all."""
SNAPSHOT_HEAD_BYTES: Final = 68
SNAPSHOT_MAGIC: Final = b"KSNP"
SNAPSHOT_ENTRY: Final = Struct(">HIq")  # bytes of the key, bytes of the value, mod revision
SNAPSHOT_DIGEST_BYTES: Final = 32
SNAPSHOT_PARTS_MAX: Final = 99_999
SNAPSHOT_PART_BYTES: Final = 8 * MIB  # at which the next part is begun
SNAPSHOT_BYTES_MAX: Final = 16 * MIB

assert CHAIN_HEAD.size == CHAIN_HEAD_BYTES
assert CHAIN_TRAILER.size + CHAIN_TRAILER_END.size == CHAIN_TRAILER_BYTES
assert RANGE.size == RANGE_BYTES
assert RUN.size == RUN_BYTES
assert FOOTER_BYTES_MAX < CHAIN_OBJECT_BYTES_MAX < 1 << 32
assert CHAIN_TRAILER_BYTES < SUFFIX_BYTES_HINT
assert INDEX_HEAD.size == INDEX_HEAD_BYTES
assert INDEX_ENTRY.size == INDEX_ENTRY_BYTES
assert INDEX_BYTES_MAX < 1 << 32
assert CHAIN_INDEX_EVERY < 1 << 32
assert MARKER.size + CRC.size == MARKER_BYTES
assert SEGMENT_HEAD.size == SEGMENT_HEAD_BYTES
assert SEGMENT_FOOTER.size == SEGMENT_FOOTER_BYTES
assert SEGMENT_MAGIC.to_bytes(4, "big") == b"KAFS"
assert SEGMENT_END_MAGIC.to_bytes(4, "big") == b"END!"
assert SEGMENT_BYTES_DEFAULT < SEGMENT_BYTES_MAX < 1 << 32  # index positions have 32 bits
assert SEGMENT_INDEX_HEAD.size == SEGMENT_INDEX_HEAD_BYTES
assert int.from_bytes(SEGMENT_INDEX_MAGIC, "big") == 0x494458
assert OFFSET_ENTRY.size == OFFSET_ENTRY_BYTES
assert TIME_ENTRY.size == TIME_ENTRY_BYTES
assert MANIFEST_HEAD.size == MANIFEST_HEAD_BYTES
assert MANIFEST_SEGMENT.size == MANIFEST_SEGMENT_BYTES
assert TOPIC_HEAD.size == TOPIC_HEAD_BYTES
assert TOMBSTONE_HEAD.size == TOMBSTONE_HEAD_BYTES
assert STORE_ID.size + CRC.size == STORE_ID_BYTES
assert SNAPSHOT_HEAD.size == SNAPSHOT_HEAD_BYTES
assert SNAPSHOT_PART_BYTES + 2 * VALUE_BYTES_MAX < SNAPSHOT_BYTES_MAX
