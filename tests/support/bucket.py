"""Compacted objects written by hand, and a bucket that a cluster filled: for the tools that read buckets.

Owns: segments, manifests and damage in a store. Does not own: the cluster (owners.py), the tools.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.model.cluster import Topic
from libs.model.ids import LeaderEpoch, Offset, Partition
from libs.objectstore.port import ObjectStore
from libs.segments.keys import (
    ManifestName,
    PartitionFolder,
    SegmentName,
    manifest_key,
    segment_index_key,
    segment_key,
    tombstone_key,
)
from libs.segments.manifest import EpochStart, Manifest, SegmentRef, encode_manifest
from libs.segments.segment import SegmentBatch, encode_segment
from libs.segments.topic_object import Tombstone, encode_tombstone
from tests.support.owners import EPOCH_MS, tp_of
from tests.support.segments import NONCE, stored_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """A manifest in the store, and the keys of its first segment."""

    manifest: Manifest
    key: str
    segment_key: str
    index_key: str


async def write_compacted(
    store: ObjectStore,
    topic: Topic,
    ends: Sequence[int],
    *,
    partition: int = 0,
    epoch: int = 0,
    n: int = 0,
    log_start: int = 0,
    value: bytes = b"v" * 40,
    first: int = 0,
) -> Compacted:
    """One segment for each of `ends`, which follow each other from offset `first`, and their manifest."""
    folder = PartitionFolder(topic.name, topic.topic_id, Partition(partition))
    refs: list[SegmentRef] = []
    base = first
    for end in ends:
        batches = [
            SegmentBatch(
                offset,
                offset,
                1,
                EPOCH_MS + offset,
                stored_batch(offset, 1, leader_epoch=epoch, value=value),
            )
            for offset in range(base, end)
        ]
        encoded = encode_segment(batches, created_ms=EPOCH_MS, interval_bytes=256)
        name = SegmentName(Offset(base), LeaderEpoch(epoch), bytes([n, *NONCE[1:]]))
        await store.put_if_absent(segment_key(folder, name), encoded.buffers)
        await store.put_if_absent(segment_index_key(folder, name), encoded.index)
        refs.append(
            SegmentRef(
                name=name,
                last_offset=end - 1,
                record_count=end - base,
                size_bytes=encoded.size_bytes,
                index_bytes=len(encoded.index),
                max_timestamp_ms=encoded.max_timestamp_ms,
            )
        )
        base = end
    manifest = Manifest(
        tp=tp_of(topic, partition),
        leader_epoch=epoch,
        n=n,
        created_ms=EPOCH_MS,
        log_start=log_start,
        end_offset=base,
        segments=tuple(refs),
        epochs=(EpochStart(leader_epoch=epoch, start_offset=first),),
    )
    key = manifest_key(folder, ManifestName(LeaderEpoch(epoch), n))
    await store.put_if_absent(key, encode_manifest(manifest))
    return Compacted(
        manifest=manifest,
        key=key,
        segment_key=segment_key(folder, refs[0].name),
        index_key=segment_index_key(folder, refs[0].name),
    )


async def bury(store: ObjectStore, topic: Topic, *, deleted_ms: int = 1) -> None:
    """A tombstone, as collection writes it."""
    tombstone = Tombstone(topic_id=topic.topic_id, name=topic.name, deleted_ms=deleted_ms)
    await store.put_if_absent(tombstone_key(topic.topic_id), encode_tombstone(tombstone))


async def flip(store: ObjectStore, key: str, at: int) -> None:
    """One bit of the object is another from now on."""
    data = bytearray(await store.get(key))
    data[at] ^= 1
    await store.put(key, bytes(data))
