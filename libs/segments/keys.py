"""The only place where an object's key is spelled.

Owns: builders, parsers and list prefixes of every key (design section 5). Does not own: the cluster's own
prefix (the store adds it), what the objects hold.
Rules: 1 a key is keyed by topic id, the name is there for people (promise 8); 2 a parser gives None for a key
of another kind or in another spelling, because a bucket may hold foreign objects; 3 numbers are zero-padded,
so that a LIST comes in order; digits sort before letters, so that a chain's objects come before its index
objects and markers; 4 a topic's name is cut to TOPIC_IN_KEY_LENGTH_MAX characters: stores refuse path
components of more than 255 bytes, and the id beside it tells topics apart.
"""

import re
from typing import NamedTuple
from uuid import UUID

from libs.model.errors import Invalid, Reason
from libs.model.ids import (
    ChainSeq,
    LeaderEpoch,
    Offset,
    Partition,
    Revision,
    SessionId,
    TopicId,
    TopicName,
)
from libs.model.limits import TOPIC_NAME_LENGTH_MAX
from libs.segments.layout import NONCE_BYTES

WAL_PREFIX = "wal/"
"""Where every chain is."""

META_PREFIX = "meta/"
"""Where the bucket says what it is: its own id, topics, tombstones, snapshots of the metadata store."""

STORE_ID_KEY = "meta/store-id"
TOPIC_OBJECTS_PREFIX = "meta/topics/"
TOMBSTONES_PREFIX = "meta/deleted/"
SNAPSHOTS_PREFIX = "meta/snapshots/"

TOPIC_IN_KEY_LENGTH_MAX = 200
"""Of a topic's name in a key; with "-" and its id 237 bytes."""

_UUID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_TOPIC = rf"([a-zA-Z0-9._-]{{1,{TOPIC_IN_KEY_LENGTH_MAX}}})-{_UUID}"
_CHAIN_OBJECT = re.compile(rf"wal/{_UUID}/([0-9]{{20}})\.wal", re.ASCII)
_CHAIN_INDEX = re.compile(rf"wal/{_UUID}/index-([0-9]{{20}})\.idx", re.ASCII)
_START_MARKER = re.compile(rf"wal/{_UUID}/start-([0-9]{{20}})", re.ASCII)
_SEGMENT = re.compile(
    rf"{_TOPIC}/([0-9]{{5}})/segment-([0-9]{{20}})-([0-9]{{10}})-([0-9a-f]{{32}})\.(kfs|index)", re.ASCII
)
_MANIFEST = re.compile(rf"{_TOPIC}/([0-9]{{5}})/manifest-([0-9]{{10}})-([0-9]{{10}})\.kfm", re.ASCII)
_TOPIC_OBJECT = re.compile(rf"meta/topics/{_UUID}/([0-9]{{10}})\.topic", re.ASCII)
_TOMBSTONE = re.compile(rf"meta/deleted/{_UUID}", re.ASCII)
_SNAPSHOT = re.compile(r"meta/snapshots/([0-9]{20})-([0-9]{20})(?:\.([0-9]{5}))?", re.ASCII)
_TOPIC_NAME = re.compile(rf"[a-zA-Z0-9._-]{{1,{TOPIC_NAME_LENGTH_MAX}}}", re.ASCII)


class ChainPosition(NamedTuple):
    """A place in a session's chain."""

    session: SessionId
    seq: ChainSeq


class PartitionFolder(NamedTuple):
    """Where a partition's compacted objects are. From a key, `topic` is as the key has it: maybe cut."""

    topic: TopicName
    topic_id: TopicId
    partition: Partition


class SegmentName(NamedTuple):
    """Which segment of a partition: its first offset, the writer's epoch, and the writer's own 16 bytes."""

    base_offset: Offset
    leader_epoch: LeaderEpoch
    nonce: bytes


class ManifestName(NamedTuple):
    """Which manifest of a partition: the n-th of an epoch."""

    leader_epoch: LeaderEpoch
    n: int


class TopicObjectName(NamedTuple):
    """The n-th object about a topic; the greatest n counts."""

    topic_id: TopicId
    n: int


class SnapshotName(NamedTuple):
    """A snapshot of the metadata store: when it was taken, and of which revision."""

    created_ms: int
    revision: Revision


def check_topic_name(name: str) -> TopicName:
    """`name` as a topic's name. Raises Invalid(INVALID_TOPIC_NAME); the rule is Kafka's (Topic.validate)."""
    if name in {".", ".."} or _TOPIC_NAME.fullmatch(name) is None:
        raise Invalid(
            f"{name[:300]!r} is no topic name: 1 to {TOPIC_NAME_LENGTH_MAX} of a-z A-Z 0-9 . _ -,"
            " but not '.' or '..'",
            reason=Reason.INVALID_TOPIC_NAME,
        )
    return TopicName(name)


def session_prefix(session: SessionId) -> str:
    """Lists all of a session's chain, indexes and markers."""
    return f"wal/{session}/"


def chain_object_key(session: SessionId, seq: int) -> str:
    """A data object's or a seal's key: they compete for it."""
    return f"wal/{session}/{_number(seq, 20)}.wal"


def parse_chain_object_key(key: str) -> ChainPosition | None:
    """The inverse of `chain_object_key`."""
    return _chain_position(_CHAIN_OBJECT, key)


def chain_index_key(session: SessionId, first_seq: int) -> str:
    """Key of the index over CHAIN_INDEX_EVERY chain objects from `first_seq` on (see `index.index_start`)."""
    return f"wal/{session}/index-{_number(first_seq, 20)}.idx"


def chain_indexes_prefix(session: SessionId) -> str:
    """Lists a chain's index objects."""
    return f"wal/{session}/index-"


def parse_chain_index_key(key: str) -> ChainPosition | None:
    """The inverse of `chain_index_key`."""
    return _chain_position(_CHAIN_INDEX, key)


def start_marker_key(session: SessionId, seq: int) -> str:
    """Key of the marker that says: everything below `seq` may be gone."""
    return f"wal/{session}/start-{_number(seq, 20)}"


def start_markers_prefix(session: SessionId) -> str:
    """Lists a chain's start markers (design section 3, rule 8); the last is the greatest."""
    return f"wal/{session}/start-"


def parse_start_marker_key(key: str) -> ChainPosition | None:
    """The inverse of `start_marker_key`."""
    return _chain_position(_START_MARKER, key)


def topic_prefix(topic: str, topic_id: TopicId) -> str:
    """Lists all compacted objects of a topic."""
    return f"{check_topic_name(topic)[:TOPIC_IN_KEY_LENGTH_MAX]}-{topic_id}/"


def partition_prefix(folder: PartitionFolder) -> str:
    """Lists a partition's segments, their indexes and its manifests."""
    return f"{topic_prefix(folder.topic, folder.topic_id)}{_number(folder.partition, 5)}/"


def segment_key(folder: PartitionFolder, name: SegmentName) -> str:
    """Key of a compacted segment."""
    return f"{_segment_stem(folder, name)}.kfs"


def segment_index_key(folder: PartitionFolder, name: SegmentName) -> str:
    """Key of a segment's index, beside it."""
    return f"{_segment_stem(folder, name)}.index"


def segments_prefix(folder: PartitionFolder) -> str:
    """Lists a partition's segments and their indexes."""
    return f"{partition_prefix(folder)}segment-"


def parse_segment_key(key: str) -> tuple[PartitionFolder, SegmentName] | None:
    """The inverse of `segment_key`."""
    return _parse_segment(key, "kfs")


def parse_segment_index_key(key: str) -> tuple[PartitionFolder, SegmentName] | None:
    """The inverse of `segment_index_key`."""
    return _parse_segment(key, "index")


def manifest_key(folder: PartitionFolder, name: ManifestName) -> str:
    """Key of a manifest."""
    epoch, n = _number(name.leader_epoch, 10), _number(name.n, 10)
    return f"{partition_prefix(folder)}manifest-{epoch}-{n}.kfm"


def manifests_prefix(folder: PartitionFolder) -> str:
    """Lists a partition's manifests, the newest last."""
    return f"{partition_prefix(folder)}manifest-"


def parse_manifest_key(key: str) -> tuple[PartitionFolder, ManifestName] | None:
    """The inverse of `manifest_key`."""
    match = _MANIFEST.fullmatch(key)
    if match is None:
        return None
    return _folder(match), ManifestName(LeaderEpoch(int(match[4])), int(match[5]))


def topic_object_key(name: TopicObjectName) -> str:
    """Key of what the bucket says about a topic."""
    return f"{topic_objects_prefix(name.topic_id)}{_number(name.n, 10)}.topic"


def topic_objects_prefix(topic_id: TopicId) -> str:
    """Lists a topic's objects, the newest last."""
    return f"{TOPIC_OBJECTS_PREFIX}{topic_id}/"


def parse_topic_object_key(key: str) -> TopicObjectName | None:
    """The inverse of `topic_object_key`."""
    match = _TOPIC_OBJECT.fullmatch(key)
    return None if match is None else TopicObjectName(TopicId(UUID(match[1])), int(match[2]))


def tombstone_key(topic_id: TopicId) -> str:
    """Key of the object that says: this topic was deleted."""
    return f"{TOMBSTONES_PREFIX}{topic_id}"


def parse_tombstone_key(key: str) -> TopicId | None:
    """The inverse of `tombstone_key`."""
    match = _TOMBSTONE.fullmatch(key)
    return None if match is None else TopicId(UUID(match[1]))


def snapshot_key(name: SnapshotName) -> str:
    """Key of a snapshot's last part, written when the others are there: then the snapshot is whole."""
    return f"{SNAPSHOTS_PREFIX}{_number(name.created_ms, 20)}-{_number(name.revision, 20)}"


def snapshot_part_key(name: SnapshotName, part: int) -> str:
    """Key of an earlier part of a snapshot, from 0."""
    return f"{snapshot_key(name)}.{_number(part, 5)}"


def parse_snapshot_key(key: str) -> tuple[SnapshotName, int | None] | None:
    """The inverse of `snapshot_key` (None for the part) and of `snapshot_part_key`."""
    match = _SNAPSHOT.fullmatch(key)
    if match is None:
        return None
    name = SnapshotName(int(match[1]), Revision(int(match[2])))
    return name, None if match[3] is None else int(match[3])


def _number(value: int, digits: int) -> str:
    text = f"{value:0{digits}d}"
    if value < 0 or len(text) != digits:
        raise ValueError(f"{value} does not fit into {digits} digits of a key")
    return text


def _segment_stem(folder: PartitionFolder, name: SegmentName) -> str:
    if len(name.nonce) != NONCE_BYTES:
        raise ValueError(f"a segment's nonce has {NONCE_BYTES} bytes, not {len(name.nonce)}")
    base, epoch = _number(name.base_offset, 20), _number(name.leader_epoch, 10)
    return f"{partition_prefix(folder)}segment-{base}-{epoch}-{name.nonce.hex()}"


def _parse_segment(key: str, kind: str) -> tuple[PartitionFolder, SegmentName] | None:
    match = _SEGMENT.fullmatch(key)
    if match is None or match[7] != kind:
        return None
    name = SegmentName(Offset(int(match[4])), LeaderEpoch(int(match[5])), bytes.fromhex(match[6]))
    return _folder(match), name


def _folder(match: re.Match[str]) -> PartitionFolder:
    return PartitionFolder(TopicName(match[1]), TopicId(UUID(match[2])), Partition(int(match[3])))


def _chain_position(pattern: re.Pattern[str], key: str) -> ChainPosition | None:
    match = pattern.fullmatch(key)
    if match is None:
        return None
    return ChainPosition(SessionId(UUID(match[1])), ChainSeq(int(match[2])))
