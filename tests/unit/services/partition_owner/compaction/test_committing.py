"""Commits whose replies, requests or callers are lost: what is in force here is what the store has."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from libs.clients.metadata import MetadataClient, PartitionRecord
from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Assignment, AssignmentState, ChainPosition, PartitionState
from libs.model.errors import Fenced, Moved, NotFound, Reason, Unavailable
from libs.model.ids import ChainSeq, LeaderEpoch, Offset, OwnerId, Revision, TopicPartition
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import ManifestName, SegmentName, manifest_key, segment_index_key, segment_key
from libs.segments.manifest import Manifest, SegmentRef, encode_manifest
from services.metadata.commits import check_commit, check_holder
from services.partition_owner.compaction.background import log_start_at
from services.partition_owner.compaction.committing import Committer
from services.partition_owner.compaction.dropped import DroppedObjects
from services.partition_owner.compaction.uploads import Uploads
from services.partition_owner.partition import Partition, PartitionPhase
from tests.support.segments import NONCE
from tests.unit.services.partition_owner.writing import SESSION, partition

EPOCH = LeaderEpoch(3)


class OneRecord:
    """Metadata with one partition; `faults` is what becomes of the next commits."""

    def __init__(self, of: Partition) -> None:
        position = ChainPosition(session=SESSION, leader_epoch=EPOCH, from_seq=ChainSeq(0), to_seq=None)
        self.record = PartitionRecord(
            assignment=Assignment(
                topic_id=of.tp.topic_id,
                partition=of.tp.partition,
                owner_id=OwnerId("a"),
                session=SESSION,
                leader_epoch=EPOCH,
            ),
            assignment_revision=Revision(1),
            state=PartitionState(positions=(position,)),
            state_revision=Revision(2),
        )
        self.faults: list[str] = []
        self.late: list[Callable[[], object]] = []
        self.commits = 0
        self.reads = 0
        self.during: Callable[[], None] | None = None

    async def get_partition(self, at: TopicPartition) -> PartitionRecord:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        if self.faults and self.faults[0] == "no read":
            self.faults.pop(0)
            raise Unavailable("away")
        return self.record

    async def commit_partition(
        self, at: TopicPartition, read: PartitionRecord, state: PartitionState
    ) -> PartitionRecord:
        self.commits += 1
        await trio.lowlevel.checkpoint()
        if self.during is not None:
            self.during()
        for land in self.late:
            land()
        self.late.clear()
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "nothing done":
            raise Unavailable("away")
        if fault == "request lost":
            raise Unavailable("away", outcome_unknown=True)
        if fault == "late":
            self.late.append(lambda: self._land(at, read, state))
            raise Unavailable("away", outcome_unknown=True)
        landed = self._land(at, read, state)
        if fault == "reply lost":
            raise Unavailable("away", outcome_unknown=True)
        if fault == "hangs":
            await trio.sleep_forever()
        if not landed:
            raise Fenced("changed", reason=Reason.GUARD_FAILED)
        return self.record

    def _land(self, at: TopicPartition, read: PartitionRecord, state: PartitionState) -> bool:
        now = self.record
        check_holder(at, now.assignment, read.assignment.session, read.assignment.leader_epoch)
        if (read.assignment_revision, read.state_revision) != (now.assignment_revision, now.state_revision):
            return False
        check_commit(at, now.assignment, now.state, state)
        self.record = replace(now, state=state, state_revision=Revision(now.state_revision + 1))
        return True

    def touch_assignment(self) -> None:
        self.record = replace(self.record, assignment_revision=Revision(self.record.assignment_revision + 10))


async def encode(manifest: Manifest) -> bytes:
    await trio.lowlevel.checkpoint()
    return encode_manifest(manifest)


class Committing:
    """A partition with a hundred durable records, its record, and a committer between them."""

    def __init__(self) -> None:
        self.partition = partition()
        log = self.partition.log
        log.append(
            session=SESSION,
            leader_epoch=EPOCH,
            seq=0,
            base_offset=0,
            record_count=100,
            position=8,
            size_bytes=1000,
            max_timestamp_ms=1,
        )
        log.begin_flight(100)
        log.advance_durable(100)
        self.metadata = OneRecord(self.partition)
        self.partition.opened(self.metadata.record)
        self.dropped = DroppedObjects(100)
        self.store = MemoryObjectStore(ManualClock())
        self.committer = Committer(
            metadata=cast(MetadataClient, self.metadata),
            store=self.store,
            dropped=self.dropped,
            rand=SeededRand("committing"),
        )

    async def move_log_start(self, offset: int) -> None:
        await self.committer.commit(self.partition, log_start_at(offset))

    async def compact(self, n: int, nonce: bytes = NONCE) -> str:
        """Commits a manifest with everything in one segment; returns its key."""
        segment = SegmentRef(
            name=SegmentName(Offset(0), EPOCH, nonce),
            last_offset=99,
            record_count=100,
            size_bytes=1000,
            index_bytes=100,
            max_timestamp_ms=1,
        )
        manifest = Manifest(
            tp=self.partition.tp,
            leader_epoch=EPOCH,
            n=n,
            created_ms=0,
            log_start=0,
            end_offset=100,
            segments=(segment,),
        )
        uploads = Uploads(store=self.store, rand=SeededRand("uploads"))
        key, manifest = await uploads.put_manifest(self.partition.folder, manifest, encode)
        await self.committer.commit(
            self.partition, lambda state: replace(state, manifest_key=key), manifest=manifest
        )
        return key

    @property
    def committed_start(self) -> int:
        assert self.metadata.record.state is not None
        return self.metadata.record.state.log_start_offset


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["nothing done"],
        ["nothing done"] * 5,
        ["request lost"],
        ["reply lost"],
        ["late"],
        ["late", "late"],
        ["request lost", "reply lost"],
        ["request lost", "no read", "no read"],
        ["late", "request lost", "no read", "reply lost"],
    ],
)
async def test_whatever_is_lost_it_is_committed_once(faults: list[str], autojump_clock: MockClock) -> None:
    made = Committing()
    made.metadata.faults = list(faults)
    served: list[tuple[int, int]] = []
    made.metadata.during = lambda: served.append((made.partition.log.log_start, made.committed_start))
    await made.move_log_start(40)
    assert made.partition.log.log_start == made.committed_start == 40
    assert all(here <= committed for here, committed in served), "served before it was committed"
    made.metadata.faults = []
    await made.move_log_start(50)
    assert made.partition.record == made.metadata.record


async def test_an_assignment_that_changed_harmlessly_costs_a_read(autojump_clock: MockClock) -> None:
    made = Committing()
    made.metadata.touch_assignment()
    await made.move_log_start(40)
    assert made.committed_start == 40
    assert (made.metadata.commits, made.metadata.reads) == (2, 1)


async def test_nothing_to_change_is_not_written(autojump_clock: MockClock) -> None:
    made = Committing()
    await made.move_log_start(40)
    await made.move_log_start(40)
    await made.move_log_start(30)
    assert made.metadata.commits == 1


async def test_what_a_lost_caller_committed_is_taken_over(autojump_clock: MockClock) -> None:
    """A client's deadline ends DeleteRecords while its commit is on its way."""
    made = Committing()
    made.metadata.faults = ["hangs"]
    with trio.move_on_after(1):
        await made.move_log_start(40)
    assert (made.committed_start, made.partition.log.log_start) == (40, 0)
    await made.move_log_start(45)
    assert made.partition.log.log_start == made.committed_start == 45


async def test_a_manifest_that_a_lost_caller_committed_is_read_and_taken_over(
    autojump_clock: MockClock,
) -> None:
    made = Committing()
    made.metadata.faults = ["hangs"]
    with trio.move_on_after(1):
        await made.compact(0)
    assert made.partition.manifest is None
    await made.move_log_start(45)
    assert made.partition.manifest is not None
    assert len(made.partition.log.segments) == 1
    assert made.partition.log.compacted_end == 100


async def test_what_a_commit_dropped_is_handed_on_after_it(autojump_clock: MockClock) -> None:
    made = Committing()
    first = await made.compact(0)
    assert len(made.dropped) == 0
    made.metadata.faults = ["late", "reply lost"]
    made.metadata.during = lambda: _assert_nothing_dropped(made)
    await made.compact(1, nonce=bytes(16))
    taken = made.dropped.take(dropped_before=trio.current_time(), count_max=10)
    name = SegmentName(Offset(0), EPOCH, NONCE)
    folder = made.partition.folder
    assert [each.key for each in taken] == [first, segment_key(folder, name), segment_index_key(folder, name)]


def _assert_nothing_dropped(made: Committing) -> None:
    assert len(made.dropped) == 0


@pytest.mark.parametrize("how", ["epoch", "releasing", "gone", "closed"])
async def test_a_partition_that_moved_is_left_alone(how: str, autojump_clock: MockClock) -> None:
    made = Committing()
    record = made.metadata.record
    match how:
        case "epoch":
            assigned = replace(record.assignment, leader_epoch=LeaderEpoch(4))
            made.metadata.record = replace(record, assignment=assigned)
        case "releasing":
            assigned = replace(record.assignment, state=AssignmentState.RELEASING)
            made.metadata.record = replace(record, assignment=assigned)
        case "gone":
            made.metadata.faults = ["request lost"]
            made.metadata.get_partition = _not_found  # type: ignore[method-assign]
        case _:
            made.partition.phase = PartitionPhase.RELEASING
    with pytest.raises(Moved):
        await made.move_log_start(40)
    assert made.partition.log.log_start == 0


async def _not_found(at: TopicPartition) -> PartitionRecord:
    raise NotFound(f"no {at}")


async def test_commits_of_a_partition_follow_each_other(autojump_clock: MockClock) -> None:
    made = Committing()
    made.metadata.faults = ["late", "nothing done", "reply lost"]
    async with trio.open_nursery() as nursery:
        for offset in (10, 30, 20):
            nursery.start_soon(made.move_log_start, offset)
        nursery.start_soon(made.compact, 0)
    assert made.partition.log.log_start == made.committed_start == 30
    assert made.partition.manifest_key == (made.metadata.record.state or PartitionState()).manifest_key != ""


async def test_a_manifests_name_that_is_taken_is_passed_over(autojump_clock: MockClock) -> None:
    made = Committing()
    taken, free = (manifest_key(made.partition.folder, ManifestName(EPOCH, n)) for n in (0, 1))
    await made.store.put_if_absent(taken, b"written in vain by an earlier attempt")
    assert await made.compact(0) == free
    assert made.partition.manifest is not None
    assert made.partition.manifest.n == 1
