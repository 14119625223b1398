"""Verifies what is below `meta/`: the store's id, topic objects, tombstones, snapshots of the metadata store.

Owns: reading them. Does not own: comparing topics with data and metadata (verify.py).
"""

from dataclasses import dataclass, field

from libs.model.errors import Corrupt
from libs.model.ids import TopicId
from libs.objectstore.port import ObjectInfo
from libs.segments.keys import (
    STORE_ID_KEY,
    SnapshotName,
    parse_snapshot_key,
    parse_tombstone_key,
    parse_topic_object_key,
    snapshot_key,
    snapshot_part_key,
)
from libs.segments.snapshot import Digest, parse_snapshot_part
from libs.segments.store_id import parse_store_id
from libs.segments.topic_object import Tombstone, TopicObject, parse_tombstone, parse_topic_object
from services.partition_owner.parallel import for_each
from tools.bucket.work import Work

_READS_MAX = 1000
"""How many objects are listed before they are read."""


@dataclass(slots=True, kw_only=True)
class Meta:
    """What the bucket says of itself: each topic's newest object, tombstones, whole snapshots."""

    topics: dict[TopicId, TopicObject] = field(default_factory=dict)
    tombstones: dict[TopicId, Tombstone] = field(default_factory=dict)
    snapshots: list[SnapshotName] = field(default_factory=list)


async def verify_meta(work: Work, prefix: str) -> Meta:
    """Reads all of it: of deleted topics, too, an object or two stay."""
    meta = Meta()
    to_read: list[ObjectInfo] = []

    async def read(info: ObjectInfo) -> None:
        if parse_topic_object_key(info.key) is not None:
            await _topic(work, meta, info)
        elif parse_tombstone_key(info.key) is not None:
            await _tombstone(work, meta, info)
        elif info.key == STORE_ID_KEY:
            await _store_id(work, info)
        work.done([info])

    async for info in work.objects(prefix):
        snapshot = parse_snapshot_key(info.key)
        if snapshot is not None and snapshot[1] is None:
            meta.snapshots.append(snapshot[0])
        work.count(_kind(info.key), info)
        to_read.append(info)
        if len(to_read) == _READS_MAX:
            await for_each(to_read, read, at_once_max=work.options.gets_max)
            to_read = []
    await for_each(to_read, read, at_once_max=work.options.gets_max)
    for name in list(meta.snapshots):
        if not await _snapshot(work, name):
            meta.snapshots.remove(name)
    return meta


def _kind(key: str) -> str:
    """What a report calls it."""
    if parse_topic_object_key(key) is not None:
        return "topic object"
    if parse_tombstone_key(key) is not None:
        return "tombstone"
    if parse_snapshot_key(key) is not None:
        return "snapshot"
    return "store id" if key == STORE_ID_KEY else "foreign"


async def _store_id(work: Work, info: ObjectInfo) -> None:
    data = await work.get(info.key)
    try:
        if data is not None:
            parse_store_id(data)
    except Corrupt as error:
        work.error("corrupt", info.key, error.message)


async def _topic(work: Work, meta: Meta, info: ObjectInfo) -> None:
    data = await work.get(info.key)
    if data is None:
        return
    try:
        topic = parse_topic_object(data)
    except Corrupt as error:
        work.error("corrupt", info.key, error.message)
        return
    if (topic.topic_id, topic.n) != parse_topic_object_key(info.key):
        work.error("corrupt", info.key, f"it says {topic.topic_id}, number {topic.n}")
        return
    known = meta.topics.get(topic.topic_id)
    if known is None or known.n < topic.n:
        meta.topics[topic.topic_id] = topic


async def _tombstone(work: Work, meta: Meta, info: ObjectInfo) -> None:
    data = await work.get(info.key)
    if data is None:
        return
    try:
        tombstone = parse_tombstone(data)
    except Corrupt as error:
        work.error("corrupt", info.key, error.message)
        return
    if tombstone.topic_id != parse_tombstone_key(info.key):
        work.error("corrupt", info.key, f"it says {tombstone.topic_id}")
        return
    meta.tombstones[tombstone.topic_id] = tombstone


async def _snapshot(work: Work, name: SnapshotName) -> bool:
    """Whether the snapshot is whole and intact; False too where it went away meanwhile."""
    key = snapshot_key(name)
    data = await work.get(key)
    if data is None:
        return False
    try:
        last = parse_snapshot_part(data)
        if last.name != name or not last.is_last:
            raise Corrupt(f"it says {tuple(last.name)}, part {last.part}")
        digest = Digest()
        for number in range(last.part):
            part_key = snapshot_part_key(name, number)
            data = await work.get(part_key)
            if data is None:
                if await work.head(key) is None:
                    return False  # it is being deleted, the last part first
                raise Corrupt(f"its part {number} is not there")
            part = parse_snapshot_part(data)
            if (part.name, part.part, part.is_last) != (name, number, False):
                raise Corrupt(f"its part {number} says {tuple(part.name)}, part {part.part}")
            digest.add(part.entries)
        digest.add(last.entries)
        if digest.value() != last.digest:
            raise Corrupt("its digest is wrong")
    except Corrupt as error:
        work.error("corrupt", key, error.message)
        return False
    return True
