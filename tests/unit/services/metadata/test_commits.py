"""CommitPartition: nothing goes back, only the holder commits, and a release has the last word."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.clients.metadata import MetadataClient, PartitionRecord
from libs.model.cluster import Assignment, AssignmentState, ChainPosition, PartitionState
from libs.model.errors import Fenced, Invalid, Moved, NotFound, Reason, Unavailable
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
from libs.segments.keys import ManifestName, PartitionFolder, manifest_key, parse_manifest_key
from services.metadata.commits import check_commit, check_holder
from tests.support.kv import FaultyKV
from tests.support.metadata import FakeOwner, open_metadata_cluster
from tests.unit.services.metadata.test_controller import open_one
from tests.unit.services.metadata.test_topics import created, new

AT = TopicPartition(TopicId(UUID(int=1)), Partition(2))
OWN, OTHER = SessionId(UUID(int=7)), SessionId(UUID(int=8))
EPOCH = LeaderEpoch(3)
ASSIGNED = Assignment(
    topic_id=AT.topic_id, partition=AT.partition, owner_id=OwnerId("a"), session=OWN, leader_epoch=EPOCH
)


def key(epoch: int, n: int, at: TopicPartition = AT) -> str:
    folder = PartitionFolder(TopicName("orders"), at.topic_id, at.partition)
    return manifest_key(folder, ManifestName(LeaderEpoch(epoch), n))


def position(session: SessionId, epoch: int, from_seq: int, to_seq: int | None) -> ChainPosition:
    return ChainPosition(
        session=session,
        leader_epoch=LeaderEpoch(epoch),
        from_seq=ChainSeq(from_seq),
        to_seq=None if to_seq is None else ChainSeq(to_seq),
    )


CLOSED, MINE = position(OTHER, 2, 5, 9), position(OWN, 3, 4, None)
BEFORE = PartitionState(log_start_offset=Offset(10), manifest_key=key(2, 7), positions=(CLOSED, MINE))

GOOD = {
    "nothing": {},
    "a manifest": {"manifest_key": key(3, 0)},
    "a log start": {"log_start_offset": Offset(11)},
    "positions compacted away": {"positions": (replace(MINE, from_seq=ChainSeq(40)),)},
    "part of a closed position": {"positions": (replace(CLOSED, from_seq=ChainSeq(8)), MINE)},
}
BAD = {
    "the log start back": {"log_start_offset": Offset(9)},
    "from_seq back": {"positions": (CLOSED, replace(MINE, from_seq=ChainSeq(3)))},
    "a closed from_seq back": {"positions": (replace(CLOSED, from_seq=ChainSeq(4)), MINE)},
    "a closed position used up": {"positions": (replace(CLOSED, from_seq=ChainSeq(9)), MINE)},
    "the own position away": {"positions": (CLOSED,)},
    "no positions": {"positions": ()},
    "the own position closed": {"positions": (CLOSED, replace(MINE, to_seq=ChainSeq(5)))},
    "a new position": {"positions": (position(OTHER, 1, 0, 3), CLOSED, MINE)},
    "another end": {"positions": (replace(CLOSED, to_seq=ChainSeq(10)), MINE)},
    "another order": {"positions": (MINE, CLOSED)},
    "a position twice": {"positions": (CLOSED, CLOSED, MINE)},
    "a release": {"released_offset": Offset(11)},
    "no manifest any more": {"manifest_key": ""},
    "an older manifest": {"manifest_key": key(2, 6)},
    "another's manifest": {"manifest_key": key(2, 8)},
    "a later epoch's manifest": {"manifest_key": key(4, 0)},
    "another partition's manifest": {"manifest_key": key(3, 0, TopicPartition(AT.topic_id, Partition(1)))},
    "no manifest's name": {"manifest_key": "x"},
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_what_may_be_committed(change: dict[str, object]) -> None:
    check_commit(AT, ASSIGNED, BEFORE, replace(BEFORE, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_what_goes_back_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        check_commit(AT, ASSIGNED, BEFORE, replace(BEFORE, **change))  # type: ignore[arg-type]


def test_nothing_is_committed_before_the_opening() -> None:
    for before in (None, PartitionState(), PartitionState(positions=(CLOSED,))):
        with pytest.raises(Invalid):
            check_commit(AT, ASSIGNED, before, PartitionState(positions=(MINE,)))


def test_only_the_holder_commits() -> None:
    check_holder(AT, ASSIGNED, OWN, EPOCH)
    for wrong in (
        replace(ASSIGNED, session=OTHER),
        replace(ASSIGNED, leader_epoch=LeaderEpoch(4)),
        replace(ASSIGNED, state=AssignmentState.RELEASING),
    ):
        with pytest.raises(Moved):
            check_holder(AT, wrong, OWN, EPOCH)


seqs = st.integers(min_value=0, max_value=12)


def name(state: PartitionState) -> ManifestName:
    parsed = parse_manifest_key(state.manifest_key)
    assert parsed is not None
    return parsed[1]


@given(
    st.lists(
        st.tuples(st.integers(8, 14), seqs, st.one_of(st.none(), seqs), st.integers(2, 4), seqs),
        max_size=12,
    )
)
def test_frontiers_never_go_back_whatever_is_asked(
    asked: list[tuple[int, int, int | None, int, int]],
) -> None:
    state = BEFORE
    for log_start, own_from, closed_from, epoch, n in asked:
        closed = () if closed_from is None else (replace(CLOSED, from_seq=ChainSeq(closed_from)),)
        new_state = PartitionState(
            log_start_offset=Offset(log_start),
            manifest_key=key(epoch, n),
            positions=(*closed, replace(MINE, from_seq=ChainSeq(own_from))),
        )
        try:
            check_commit(AT, ASSIGNED, state, new_state)
        except Invalid:
            continue
        assert new_state.log_start_offset >= state.log_start_offset
        assert new_state.positions[-1].from_seq >= state.positions[-1].from_seq
        assert len(new_state.positions) <= len(state.positions)
        old_name, new_name = (
            parse_manifest_key(state.manifest_key),
            parse_manifest_key(new_state.manifest_key),
        )
        assert old_name is not None
        assert new_name is not None
        assert new_name[1] >= old_name[1]
        state = new_state


@asynccontextmanager
async def opened(kv: FaultyKV) -> AsyncIterator[tuple[MetadataClient, TopicPartition, list[FakeOwner]]]:
    async with open_metadata_cluster(kv, "m0") as cluster, cluster.client() as client:
        owners = [await cluster.owner(client, f"o{number}", number) for number in (1, 2)]
        topic = await created(client, new("orders", 1))
        at = TopicPartition(topic.topic_id, Partition(0))
        await open_one(client, at)
        yield client, at, owners


def changed(record: PartitionRecord, **change: object) -> PartitionState:
    assert record.state is not None
    return replace(record.state, **change)  # type: ignore[arg-type]


async def test_a_commit_is_guarded_by_both_revisions(autojump_clock: object) -> None:
    async with opened(FaultyKV()) as (client, at, _):
        read = await client.get_partition(at)
        first = await client.commit_partition(at, read, changed(read, manifest_key=key(0, 0, at)))
        assert first.state is not None
        assert first.state.manifest_key == key(0, 0, at)
        assert first.state_revision > read.state_revision
        assert first.assignment_revision == read.assignment_revision
        assert await client.get_partition(at) == first
        for old in (read, replace(first, assignment_revision=read.state_revision)):
            with pytest.raises(Fenced) as caught:
                await client.commit_partition(at, old, changed(first, log_start_offset=Offset(5)))
            assert caught.value.reason is Reason.GUARD_FAILED
        second = await client.commit_partition(at, first, changed(first, log_start_offset=Offset(5)))
        assert second.state is not None
        assert second.state.log_start_offset == 5
        with pytest.raises(Invalid):
            await client.commit_partition(at, second, changed(second, log_start_offset=Offset(4)))


async def test_nothing_is_committed_once_a_release_was_asked_for(autojump_clock: object) -> None:
    async with opened(FaultyKV()) as (client, at, owners):
        read = await client.get_partition(at)
        (holder,) = [each for each in owners if each.owner.session == read.assignment.session]
        await client.drain_owner(holder.owner.owner_id, holder.owner.session, partitions=[at], reason="test")
        releasing = read
        while releasing.assignment.state is not AssignmentState.RELEASING:
            releasing = await client.get_partition(at)
        for old in (read, releasing):
            with pytest.raises(Moved):
                await client.commit_partition(at, old, changed(read, log_start_offset=Offset(5)))
        await client.release_partition(
            at,
            session=read.assignment.session,
            leader_epoch=read.assignment.leader_epoch,
            opened=True,
            to_seq=ChainSeq(1),
            released_offset=Offset(9),
        )
        with pytest.raises(Moved):
            await client.commit_partition(at, releasing, changed(read, log_start_offset=Offset(5)))


async def test_a_release_goes_by_what_was_committed_before_it(autojump_clock: object) -> None:
    """Also where the owner never heard of its commit, and names an end below it."""
    async with opened(FaultyKV()) as (client, at, _):
        read = await client.get_partition(at)
        own = read.state.positions[-1] if read.state else MINE
        moved_on = (replace(own, from_seq=ChainSeq(30)),)
        await client.commit_partition(
            at,
            read,
            changed(read, manifest_key=key(0, 4, at), positions=moved_on, log_start_offset=Offset(8)),
        )
        after = await client.release_partition(
            at,
            session=read.assignment.session,
            leader_epoch=read.assignment.leader_epoch,
            opened=True,
            to_seq=ChainSeq(12),
            released_offset=Offset(100),
        )
        assert after.state == PartitionState(
            log_start_offset=Offset(8),
            manifest_key=key(0, 4, at),
            positions=(),
            released_offset=Offset(100),
        )


async def test_a_lost_reply_of_the_store_is_read_back(autojump_clock: object) -> None:
    kv = FaultyKV()
    async with opened(kv) as (client, at, _):
        read = await client.get_partition(at)
        kv.lost_replies = 1
        done = await client.commit_partition(at, read, changed(read, log_start_offset=Offset(5)))
        assert await client.get_partition(at) == done
        kv.lost_requests = 1
        with pytest.raises(Unavailable) as caught:
            await client.commit_partition(at, done, changed(done, log_start_offset=Offset(6)))
        assert caught.value.outcome_unknown


async def test_there_must_be_such_a_partition(autojump_clock: object) -> None:
    async with opened(FaultyKV()) as (client, at, _):
        read = await client.get_partition(at)
        with pytest.raises(NotFound):
            await client.commit_partition(AT, read, changed(read))
