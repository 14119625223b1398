"""A dead owner and what it left: chains of any length, written behind its back.

Owns: the chain, the manifests that end where it begins, waiting for its partitions. Does not own: who opens
them, what that may cost.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import trio

from libs.concurrency.rand import SeededRand
from libs.model.cluster import Topic
from libs.model.ids import ChainSeq, LeaderEpoch, Offset, SessionId, TopicPartition
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.port import ObjectStore
from libs.segments.index import encode_index
from libs.segments.keys import (
    ManifestName,
    PartitionFolder,
    chain_index_key,
    chain_object_key,
    manifest_key,
)
from libs.segments.manifest import EpochStart, Manifest, encode_manifest
from libs.segments.seal import parse_chain_object
from libs.segments.wal import PendingRange, WalFooter, encode_wal
from tests.support.owners import EPOCH_MS, OwnerCluster, open_owner_cluster, tp_of
from tests.support.segments import stored_batch

COMPACTED_END = 10


class Backlog:
    """A dead owner's chain, written on behind its back: an object holds a batch of some of the partitions."""

    def __init__(self, store: ObjectStore, session: SessionId, tps: Sequence[TopicPartition]) -> None:
        self._store = store
        self._session = session
        self.tps = tps
        self._ends = dict.fromkeys(tps, COMPACTED_END)
        self._batches: dict[int, bytes] = {}

    async def write(self, objects: int, *, each_in: int = 1, indexes: bool = True) -> None:
        """Every partition is in one of `each_in` objects. Without `indexes` the owner never wrote one."""
        footers = await self._existing()
        for seq in range(len(footers), objects):
            tps = [tp for at, tp in enumerate(self.tps) if (at + seq) % each_in == 0]
            encoded = encode_wal(
                session=self._session,
                seq=ChainSeq(seq),
                nonce=bytes(16),
                created_ms=EPOCH_MS,
                ranges=[self._range(tp) for tp in tps],
            )
            await self._store.put(chain_object_key(self._session, seq), b"".join(encoded.buffers))
            footers.append(encoded.footer)
        for first in range(0, objects - CHAIN_INDEX_EVERY + 1, CHAIN_INDEX_EVERY) if indexes else ():
            body = b"".join(encode_index(footers[first : first + CHAIN_INDEX_EVERY]))
            await self._store.put(chain_index_key(self._session, first), body)

    async def _existing(self) -> list[WalFooter]:
        footers: list[WalFooter] = []
        while True:
            key = chain_object_key(self._session, len(footers))
            listed = await self._store.list(key, limit=1)
            if not listed.objects:
                return footers
            found = parse_chain_object(await self._store.get(key))
            assert isinstance(found, WalFooter)
            assert not found.ranges, "the owner wrote records of its own"
            footers.append(found)

    def _range(self, tp: TopicPartition) -> PendingRange:
        base = self._ends[tp]
        self._ends[tp] = base + 1
        batch = self._batches.get(base)
        if batch is None:
            batch = self._batches[base] = stored_batch(base, 1, leader_epoch=0)
        return PendingRange(
            tp=tp,
            leader_epoch=0,
            base_offset=base,
            record_count=1,
            max_timestamp_ms=EPOCH_MS,
            buffers=[batch],
        )

    def end(self, tp: TopicPartition) -> int:
        return self._ends[tp]


@asynccontextmanager
async def dead_owner(
    store: ObjectStore, partitions: int, *, delay_seconds: float
) -> AsyncIterator[tuple[OwnerCluster, Backlog, FaultyObjectStore]]:
    """An owner that had all partitions of a topic is gone; and the store as the others will see it: each
    request takes so much longer.
    """
    async with open_owner_cluster(store, ["dead"]) as cluster, trio.open_nursery() as nursery:
        dead = cluster.owners["dead"]
        topic = await cluster.create_topic("orders", partitions)
        tps = [tp_of(topic, partition) for partition in range(partitions)]
        await wait_open(cluster, tps)
        session = dead.session
        for tp in tps:
            await commit_manifest(cluster, topic, tp)
        await dead.kill()
        yield (
            cluster,
            Backlog(store, session, tps),
            FaultyObjectStore(
                store,
                plan=FaultPlan(latency_seconds=(delay_seconds, delay_seconds)),
                rand=SeededRand("cost"),
                nursery=nursery,
            ),
        )
        nursery.cancel_scope.cancel()


async def commit_manifest(cluster: OwnerCluster, topic: Topic, tp: TopicPartition) -> None:
    """Of a partition all of whose compacted records were deleted by time."""
    folder = PartitionFolder(topic.name, tp.topic_id, tp.partition)
    key = manifest_key(folder, ManifestName(LeaderEpoch(0), 0))
    manifest = Manifest(
        tp=tp,
        leader_epoch=0,
        n=0,
        created_ms=EPOCH_MS,
        log_start=COMPACTED_END,
        end_offset=COMPACTED_END,
        epochs=(EpochStart(leader_epoch=0, start_offset=0),),
    )
    await cluster.store.put_if_absent(key, encode_manifest(manifest))
    record = await cluster.client.get_partition(tp)
    assert record.state is not None
    state = replace(record.state, manifest_key=key, log_start_offset=Offset(COMPACTED_END))
    await cluster.client.commit_partition(tp, record, state)


async def wait_open(cluster: OwnerCluster, tps: Sequence[TopicPartition]) -> float:
    """Seconds from the first assignment that was seen to the last partition that was open."""
    assigned_at: float | None = None
    with trio.fail_after(300):
        while True:
            phases = [
                each.phase.value
                for owner in cluster.owners.values()
                for each in owner.service.control().partitions()
            ]
            if phases and assigned_at is None:
                assigned_at = trio.current_time()
            if phases.count("open") == len(tps):
                assert assigned_at is not None
                return trio.current_time() - assigned_at
            await trio.sleep(0.01)
