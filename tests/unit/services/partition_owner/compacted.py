"""A partition that is appended to, compacted and opened again, beside a plain list of its batches.

Owns: its objects in a store, as a flusher and a compactor would write them; what a reader must get. Does not
own: when anything is compacted.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import trio

from libs.concurrency.byte_budget import ByteBudget
from libs.concurrency.clock import ManualClock
from libs.concurrency.threads import Threads
from libs.model.cluster import ChainPosition, Topic
from libs.model.ids import (
    ChainSeq,
    LeaderEpoch,
    Offset,
    OwnerId,
    Partition,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import ObjectStore
from libs.segments.keys import (
    ManifestName,
    PartitionFolder,
    SegmentName,
    chain_object_key,
    manifest_key,
    segment_index_key,
    segment_key,
)
from libs.segments.manifest import EpochStart, Manifest, SegmentRef, encode_manifest
from libs.segments.segment import SegmentBatch, encode_segment
from libs.segments.wal import PendingRange, encode_wal
from services.partition_owner.cold_reads import ColdReadLimits, ColdReads
from services.partition_owner.fetching import Fetch, FetchedPart, Fetcher, FetchPart, FetchWait
from services.partition_owner.footers import FooterReader
from services.partition_owner.list_offsets import RECORDS_POOL, FoundOffset, OffsetFinder
from services.partition_owner.log import PartitionLog
from services.partition_owner.manifests import read_manifest
from services.partition_owner.partition import Partition as OwnedPartition
from services.partition_owner.producers import ProducerStates
from services.partition_owner.reader import Reader
from services.partition_owner.rebuild import ReadPosition, rebuild
from services.partition_owner.recorder import CountingRecorder
from services.partition_owner.registry import Registry
from services.partition_owner.segment_reads import SegmentReadLimits, SegmentReads
from services.partition_owner.tail_cache import TailCache
from tests.support.records import Record, encode_batch

OWNER = OwnerId("a")
SESSION = SessionId(UUID(int=21))
TOPIC = Topic(name=TopicName("orders"), topic_id=TopicId(UUID(int=22)), partitions=1)
TP = TopicPartition(TOPIC.topic_id, Partition(0))
FOLDER = PartitionFolder(TOPIC.name, TOPIC.topic_id, TP.partition)


class BatchModel(NamedTuple):
    """What was appended: the timestamps of its records, and its bytes."""

    base_offset: int
    times: tuple[int, ...]
    data: bytes
    epoch: int

    @property
    def end_offset(self) -> int:
        return self.base_offset + len(self.times)


class Compacted:
    """Chain objects of one session hold a range each, with one or more batches."""

    def __init__(self) -> None:
        self.store = MemoryObjectStore(ManualClock(0))
        self.batches: list[BatchModel] = []
        self.range_ends: list[int] = []
        self.manifest: Manifest | None = None
        self.manifest_key = ""
        self._segments = 0
        self.tail = TailCache(1 << 30)
        self.partition = self._partition(PartitionLog(log_start=0, next_offset=0))

    @property
    def log(self) -> PartitionLog:
        return self.partition.log

    def _partition(self, log: PartitionLog) -> OwnedPartition:
        return OwnedPartition(
            tp=TP,
            topic=TOPIC,
            session=SESSION,
            leader_epoch=LeaderEpoch(7),
            log=log,
            producers=ProducerStates(expiration_seconds=1 << 40, count_max=10),
            manifest=self.manifest,
        )

    async def append(
        self, batches: Sequence[tuple[Sequence[int], int]], *, epoch: int = 0, in_memory: bool = False
    ) -> None:
        """One chain object with batches of (timestamps of the records, bytes of each value)."""
        base = offset = self.log.assigned
        made: list[BatchModel] = []
        for times, value_bytes in batches:
            records = [Record(None, bytes(value_bytes), time) for time in times]
            data = encode_batch(records, base_offset=offset, leader_epoch=epoch)
            made.append(BatchModel(offset, tuple(times), data, epoch))
            offset += len(times)
        seq = len(self.range_ends)
        pending = PendingRange(
            tp=TP,
            leader_epoch=epoch,
            base_offset=base,
            record_count=offset - base,
            max_timestamp_ms=max(max(each.times) for each in made),
            buffers=[each.data for each in made],
        )
        encoded = encode_wal(
            session=SESSION, seq=ChainSeq(seq), nonce=bytes(16), created_ms=0, ranges=[pending]
        )
        body = b"".join(encoded.buffers)
        await self.store.put_if_absent(chain_object_key(SESSION, seq), body)
        if in_memory:
            self.tail.put(SESSION, seq, body)
        (written,) = encoded.footer.ranges
        self.log.append(
            session=SESSION,
            leader_epoch=LeaderEpoch(epoch),
            seq=seq,
            base_offset=base,
            record_count=written.record_count,
            position=written.position,
            size_bytes=written.size_bytes,
            max_timestamp_ms=written.max_timestamp_ms,
        )
        self.log.begin_flight(offset)
        self.log.advance_durable(offset)
        self.batches += made
        self.range_ends.append(offset)

    async def compact(self, end: int, *, batches_each: int = 3, interval_bytes: int = 100) -> Manifest:
        """Writes a manifest that ends at `end`, the end of a range, and lets the log have it.

        Segments have so many batches each; those of the manifest before it stay.
        """
        old = self.manifest
        begin, kept = (0, ()) if old is None else (old.end_offset, old.segments)
        fresh = [each for each in self.batches if begin <= each.base_offset < end]
        groups = [fresh[at : at + batches_each] for at in range(0, len(fresh), batches_each)]
        made = [await self.write_segment(group, interval_bytes=interval_bytes) for group in groups]
        starts: dict[int, int] = {}
        for each in self.batches:
            if each.base_offset < end:
                starts.setdefault(each.epoch, each.base_offset)
        return await self.commit(
            Manifest(
                tp=TP,
                leader_epoch=7,
                n=0 if old is None else old.n + 1,
                created_ms=0,
                log_start=self.log.log_start,
                end_offset=end,
                segments=(*kept, *made),
                epochs=tuple(
                    EpochStart(leader_epoch=epoch, start_offset=start) for epoch, start in starts.items()
                ),
            )
        )

    async def commit(self, manifest: Manifest) -> Manifest:
        """Writes it, and lets the log have it."""
        self.manifest = manifest
        self.manifest_key = manifest_key(FOLDER, ManifestName(LeaderEpoch(7), manifest.n))
        await self.store.put_if_absent(self.manifest_key, encode_manifest(manifest))
        self.log.compacted(manifest)
        self.partition.manifest = manifest
        return manifest

    async def write_segment(self, batches: Sequence[BatchModel], *, interval_bytes: int = 100) -> SegmentRef:
        """A segment and its index in the store."""
        encoded = encode_segment(
            [
                SegmentBatch(
                    each.base_offset, each.end_offset - 1, len(each.times), max(each.times), each.data
                )
                for each in batches
            ],
            created_ms=0,
            interval_bytes=interval_bytes,
        )
        self._segments += 1
        nonce = self._segments.to_bytes(16, "big")
        name = SegmentName(Offset(encoded.base_offset), LeaderEpoch(7), nonce)
        await self.store.put_if_absent(segment_key(FOLDER, name), b"".join(encoded.buffers))
        await self.store.put_if_absent(segment_index_key(FOLDER, name), encoded.index)
        return SegmentRef(
            name=name,
            last_offset=encoded.last_offset,
            record_count=encoded.record_count,
            size_bytes=encoded.size_bytes,
            index_bytes=len(encoded.index),
            max_timestamp_ms=encoded.max_timestamp_ms,
        )

    async def reopen(self, *, from_seq: int = 0) -> None:
        """As the next owner opens it: from the manifest and the chain; no records are in memory."""
        manifest = await read_manifest(self.store, self.manifest_key, TP) if self.manifest_key else None
        to_seq = ChainSeq(len(self.range_ends))
        async with trio.open_nursery() as nursery:
            footers = FooterReader(store=self.store, cache_bytes_max=1 << 20, gets_max=4, nursery=nursery)
            ranges = await footers.ranges(TP, SESSION, from_seq, to_seq)
            nursery.cancel_scope.cancel()
        epochs = sorted({each.epoch for each in self.batches})
        position = [
            ReadPosition(
                position=ChainPosition(
                    session=SESSION,
                    leader_epoch=LeaderEpoch(epoch),
                    from_seq=ChainSeq(from_seq),
                    to_seq=to_seq,
                ),
                ranges=ranges,
            )
            for epoch in epochs
        ]
        self.manifest = manifest
        rebuilt = rebuild(
            TP,
            position,
            manifest=manifest,
            log_start=self.log.log_start,
            released_offset=self.log.durable,
            producers=ProducerStates(expiration_seconds=1 << 40, count_max=10),
            now=0,
        )
        self.partition = self._partition(rebuilt.log)
        self.tail = TailCache(1)


class Served:
    """Fetches and offsets of such a partition, by the real classes."""

    def __init__(
        self,
        made: Compacted,
        nursery: trio.Nursery,
        *,
        store: ObjectStore | None = None,
        block_bytes: int = 256,
        read_ahead_bytes: int = 0,
        gets_max: int = 8,
        near_tail_bytes: int = 0,
    ) -> None:
        store = store or made.store
        self.registry = Registry()
        self.registry.add(made.partition)
        cold = ColdReads(
            store=store,
            limits=ColdReadLimits(
                block_bytes=block_bytes,
                cache_bytes_max=1 << 16,
                tail_gets_max=gets_max,
                cold_gets_max=gets_max,
            ),
            nursery=nursery,
        )
        segments = SegmentReads(
            store=store,
            cold=cold,
            limits=SegmentReadLimits(
                index_cache_bytes_max=1000,
                tail_gets_max=gets_max,
                cold_gets_max=gets_max,
                read_ahead_bytes=read_ahead_bytes,
            ),
            nursery=nursery,
        )
        self.reader = Reader(
            store=store,
            tail=made.tail,
            cold=cold,
            segments=segments,
            near_tail_bytes=near_tail_bytes,
            read_ahead_bytes=read_ahead_bytes,
        )
        self._fetcher = Fetcher(
            registry=self.registry,
            reader=self.reader,
            reply_budget=ByteBudget(1 << 30),
            recorder=CountingRecorder(),
        )
        self._finder = OffsetFinder(
            registry=self.registry, reader=self.reader, threads=Threads({RECORDS_POOL: 1})
        )

    async def fetch(self, offset: int, max_bytes: int = 1 << 20, *, min_bytes: int = 1) -> FetchedPart:
        answers: list[FetchedPart] = []

        async def reply(parts: list[FetchedPart]) -> None:
            answers.extend(parts)

        part = FetchPart(tp=TP, current_leader_epoch=-1, fetch_offset=offset, max_bytes=max_bytes)
        request = Fetch(parts=[part], min_bytes=min_bytes, max_bytes=max_bytes, max_wait_seconds=0.0)
        await self._fetcher.fetch(request, FetchWait(), report=None, reply=reply)
        return answers[0]

    async def find(self, timestamp: int) -> FoundOffset:
        return await self._finder.find(TP, -1, timestamp)
