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
from tools.bucket.work import Work


@dataclass(slots=True, kw_only=True)
class Meta:
    """What the bucket says of itself: each topic's newest object, tombstones, whole snapshots."""

    topics: dict[TopicId, TopicObject] = field(default_factory=dict)
    tombstones: dict[TopicId, Tombstone] = field(default_factory=dict)
    snapshots: list[SnapshotName] = field(default_factory=list)


async def verify_meta(work: Work, prefix: str) -> Meta:
    """Reads all of it, one object after the other: there are few."""
    meta = Meta()
    parts: dict[SnapshotName, set[int]] = {}
    async for info in work.objects(prefix):
        snapshot = parse_snapshot_key(info.key)
        if snapshot is not None:
            work.count("snapshot", info)
            name, part = snapshot
            if part is None:
                meta.snapshots.append(name)
            else:
                parts.setdefault(name, set()).add(part)
        elif parse_topic_object_key(info.key) is not None:
            work.count("topic object", info)
            await _topic(work, meta, info)
        elif info.key == STORE_ID_KEY:
            work.count("store id", info)
            await _store_id(work, info)
        elif parse_tombstone_key(info.key) is not None:
            work.count("tombstone", info)
            await _tombstone(work, meta, info)
        else:
            work.count("foreign", info)
        work.done([info])
    for name in list(meta.snapshots):
        if not await _snapshot(work, name):
            meta.snapshots.remove(name)
    return meta


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
