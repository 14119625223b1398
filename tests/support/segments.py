"""One sample value of each object format, for golden files, mutation and fuzzing.

Owns: the samples and the parser of each format. Does not own: checks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from libs.model.ids import (
    ChainSeq,
    LeaderEpoch,
    Offset,
    OwnerId,
    Partition,
    Revision,
    SessionId,
    StoreId,
    TopicId,
    TopicName,
    TopicPartition,
)
from libs.records import patched_bytes, split_batches
from libs.segments.index import encode_index, parse_index
from libs.segments.keys import SegmentName, SnapshotName
from libs.segments.manifest import (
    EpochStart,
    Manifest,
    ProducerSnapshot,
    SegmentRef,
    encode_manifest,
    parse_manifest,
)
from libs.segments.marker import StartMarker, encode_start_marker, parse_start_marker
from libs.segments.seal import Seal, encode_seal, parse_chain_object
from libs.segments.segment import EncodedSegment, SegmentBatch, encode_segment, parse_segment
from libs.segments.segment_index import parse_segment_index
from libs.segments.snapshot import (
    Digest,
    SnapshotEntry,
    SnapshotPart,
    encode_snapshot_part,
    parse_snapshot_part,
)
from libs.segments.store_id import encode_store_id, parse_store_id
from libs.segments.topic_object import (
    Tombstone,
    TopicObject,
    encode_tombstone,
    encode_topic_object,
    parse_tombstone,
    parse_topic_object,
)
from libs.segments.wal import EncodedWal, PendingRange, ProducerRun, encode_wal
from tests.support.records import EPOCH_MS, Record, encode_batch

SESSION = SessionId(UUID("0a0a0a0a-1111-4222-8333-444444444444"))
SEALER = SessionId(UUID("0b0b0b0b-1111-4222-8333-444444444444"))
TOPIC_ID = TopicId(UUID("0c0c0c0c-1111-4222-8333-444444444444"))
OTHER_TOPIC_ID = TopicId(UUID("0d0d0d0d-1111-4222-8333-444444444444"))
NONCE = bytes(range(16))


def tp(partition: int, topic_id: TopicId = TOPIC_ID) -> TopicPartition:
    return TopicPartition(topic_id, Partition(partition))


def stored_batch(base_offset: int, count: int, *, leader_epoch: int = 2, value: bytes = b"v" * 40) -> bytes:
    """A batch of `count` records with its final offset."""
    records = [Record(b"k", value, EPOCH_MS + base_offset + index) for index in range(count)]
    (view,) = split_batches(encode_batch(records))
    return patched_bytes(view, base_offset=base_offset, leader_epoch=leader_epoch)


def sample_wal(seq: int = 3) -> EncodedWal:
    """Two partitions of one topic and one of another; one of them from an idempotent producer."""
    return encode_wal(
        session=SESSION,
        seq=ChainSeq(seq),
        nonce=NONCE,
        created_ms=EPOCH_MS,
        ranges=[
            PendingRange(
                tp=tp(0),
                leader_epoch=2,
                base_offset=100 + 5 * seq,
                record_count=5,
                max_timestamp_ms=EPOCH_MS + 104,
                buffers=[stored_batch(100 + 5 * seq, 2), stored_batch(102 + 5 * seq, 3)],
                producer_runs=(
                    ProducerRun(4242, 7, 2**31 - 1, 0, 100 + 5 * seq, EPOCH_MS + 101),
                    ProducerRun(4242, 7, 1, 3, 102 + 5 * seq, EPOCH_MS + 104),
                ),
            ),
            PendingRange(
                tp=tp(1),
                leader_epoch=0,
                base_offset=seq,
                record_count=1,
                max_timestamp_ms=EPOCH_MS,
                buffers=[stored_batch(seq, 1, leader_epoch=0)],
            ),
            PendingRange(
                tp=tp(7, OTHER_TOPIC_ID),
                leader_epoch=9,
                base_offset=2**40 + seq,
                record_count=1,
                max_timestamp_ms=-1,
                buffers=[stored_batch(2**40 + seq, 1, leader_epoch=9)],
            ),
        ],
    )


def sample_probe() -> EncodedWal:
    """A chain object without data."""
    return encode_wal(session=SESSION, seq=ChainSeq(4), nonce=NONCE, created_ms=EPOCH_MS, ranges=[])


def sample_seal() -> Seal:
    return Seal(
        session=SESSION,
        seq=ChainSeq(5),
        nonce=NONCE,
        created_ms=EPOCH_MS,
        sealer_session=SEALER,
        sealer_owner=OwnerId("owner-1"),
    )


def sample_marker() -> StartMarker:
    return StartMarker(session=SESSION, seq=ChainSeq(64), nonce=NONCE, created_ms=EPOCH_MS)


def sample_index() -> bytes:
    """The index over 64..127; every fourth object is a probe."""
    footers = []
    for seq in range(64, 128):
        encoded = sample_wal(seq)
        if seq % 4 == 0:
            encoded = encode_wal(
                session=SESSION, seq=ChainSeq(seq), nonce=NONCE, created_ms=EPOCH_MS, ranges=[]
            )
        footers.append(encoded.footer)
    return b"".join(encode_index(footers))


def sample_segment() -> EncodedSegment:
    """Ten batches with a gap after the fifth and a step back in time in the middle."""
    batches = []
    for index in range(10):
        base = 1000 + index * 3 + (50 if index > 4 else 0)
        data = stored_batch(base, 3)
        max_ms = EPOCH_MS + (index - 4 if index in (5, 6) else index) * 10
        batches.append(SegmentBatch(base, base + 2, 3, max_ms, data))
    return encode_segment(batches, created_ms=EPOCH_MS, interval_bytes=512)


def sample_manifest() -> Manifest:
    return Manifest(
        tp=tp(3),
        leader_epoch=6,
        n=12,
        created_ms=EPOCH_MS,
        log_start=10,
        end_offset=400,
        segments=(
            SegmentRef(
                name=SegmentName(Offset(0), LeaderEpoch(1), NONCE),
                last_offset=99,
                record_count=100,
                size_bytes=10_000,
                index_bytes=100,
                max_timestamp_ms=EPOCH_MS,
            ),
            SegmentRef(
                name=SegmentName(Offset(120), LeaderEpoch(6), NONCE[::-1]),
                last_offset=399,
                record_count=200,
                size_bytes=20_000,
                index_bytes=200,
                max_timestamp_ms=-1,
            ),
        ),
        epochs=(EpochStart(leader_epoch=1, start_offset=0), EpochStart(leader_epoch=6, start_offset=120)),
        producers=(
            ProducerSnapshot(producer_id=5, producer_epoch=1, last_timestamp_ms=EPOCH_MS, runs=()),
            ProducerSnapshot(
                producer_id=4242,
                producer_epoch=7,
                last_timestamp_ms=EPOCH_MS + 9,
                runs=(
                    ProducerRun(4242, 7, 0, 9, 130, EPOCH_MS + 1),
                    ProducerRun(4242, 7, 10, 10, 300, EPOCH_MS + 9),
                ),
            ),
        ),
    )


def sample_topic_object() -> TopicObject:
    return TopicObject(
        topic_id=TOPIC_ID,
        n=3,
        name=TopicName("orders"),
        partitions=12,
        created_ms=EPOCH_MS,
        written_ms=EPOCH_MS + 5,
        configs={"retention.ms": "-1", "cleanup.policy": "delete"},
    )


def sample_tombstone() -> Tombstone:
    return Tombstone(topic_id=TOPIC_ID, name=TopicName("orders"), deleted_ms=EPOCH_MS)


def sample_snapshot() -> SnapshotPart:
    """The second and last part of a snapshot."""
    entries = (
        SnapshotEntry("groups/g%2F1", b"\0\1\2", Revision(7)),
        SnapshotEntry("topics/orders", b"value", Revision(9)),
        SnapshotEntry("topics/\u00fc", b"", Revision(1)),
    )
    digest = Digest()
    digest.add(entries)
    return SnapshotPart(
        name=SnapshotName(EPOCH_MS, Revision(11)), part=1, parts=2, digest=digest.value(), entries=entries
    )


class Format(NamedTuple):
    """An object format: its sample's bytes and its parser of whole objects."""

    sample: bytes
    parse: Callable[[bytes], Any]


def formats() -> dict[str, Format]:
    """Every object format by the name of its golden file."""
    segment = sample_segment()
    return {
        "wal.wal": Format(b"".join(sample_wal().buffers), parse_chain_object),
        "probe.wal": Format(b"".join(sample_probe().buffers), parse_chain_object),
        "seal.wal": Format(encode_seal(sample_seal()), parse_chain_object),
        "start": Format(encode_start_marker(sample_marker()), parse_start_marker),
        "index.idx": Format(sample_index(), parse_index),
        "segment.kfs": Format(b"".join(segment.buffers), parse_segment),
        "segment.index": Format(segment.index, parse_segment_index),
        "manifest.kfm": Format(encode_manifest(sample_manifest()), parse_manifest),
        "orders.topic": Format(encode_topic_object(sample_topic_object()), parse_topic_object),
        "tombstone": Format(encode_tombstone(sample_tombstone()), parse_tombstone),
        "store-id": Format(encode_store_id(StoreId(UUID(int=0x0123456789ABCDEF))), parse_store_id),
        "snapshot": Format(encode_snapshot_part(sample_snapshot()), parse_snapshot_part),
    }
