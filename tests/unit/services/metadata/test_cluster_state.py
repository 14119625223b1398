"""What of the watched state moves a plan."""

from dataclasses import replace
from uuid import UUID

from libs.model.cluster import Assignment, AssignmentState, Owner, Predecessor
from libs.model.ids import LeaderEpoch, OwnerId, Partition, Revision, SessionId, TopicId, TopicPartition
from services.metadata import keys, stored
from services.metadata.cluster_state import ClusterState
from services.metadata.kv.port import Deleted, KeyValue, LeaseId

AT = TopicPartition(TopicId(UUID(int=1)), Partition(3))
OLD, NEW = SessionId(UUID(int=7)), SessionId(UUID(int=8))
ADOPTED = Assignment(
    topic_id=AT.topic_id,
    partition=AT.partition,
    owner_id=OwnerId("owner-1"),
    session=NEW,
    leader_epoch=LeaderEpoch(1),
    predecessors=(Predecessor(session=OLD, leader_epoch=LeaderEpoch(0)),),
)


def put(state: ClusterState, key: str, value: bytes, *, lease_id: LeaseId | None = None) -> int:
    """By how much the plan's version grew."""
    before = state.plan_version
    revision = Revision(state.revision + 1)
    state.revision = revision
    state.apply(
        KeyValue(key=key, value=value, create_revision=revision, mod_revision=revision, lease_id=lease_id)
    )
    return state.plan_version - before


def put_assignment(state: ClusterState, assignment: Assignment) -> int:
    return put(state, keys.assignment(AT), stored.assignment_bytes(assignment))


def test_an_opening_that_clears_its_predecessors_moves_no_plan() -> None:
    state = ClusterState()
    assert put_assignment(state, ADOPTED) == 1
    assert put_assignment(state, replace(ADOPTED, predecessors=())) == 0
    known = state.assignment(AT)
    assert known is not None
    assert known.value.predecessors == ()
    assert known.revision == state.revision, "the next write compares it"


def test_whatever_else_changes_of_an_assignment_does() -> None:
    state = ClusterState()
    put_assignment(state, ADOPTED)
    releasing = replace(ADOPTED, state=AssignmentState.RELEASING, target_owner_id=OwnerId("owner-2"))
    assert put_assignment(state, releasing) == 1
    moved = replace(ADOPTED, owner_id=OwnerId("owner-2"), session=OLD, leader_epoch=LeaderEpoch(2))
    assert put_assignment(state, moved) == 1
    before = state.plan_version
    state.apply(Deleted(key=keys.assignment(AT)))
    assert state.plan_version == before + 1


def test_other_tables_do_and_what_is_not_kept_does_not() -> None:
    state = ClusterState()
    owner = Owner(owner_id=OwnerId("owner-1"), address="a", zone="", session=NEW)
    key = keys.owner(owner.owner_id)
    assert put(state, key, stored.owner_bytes(owner), lease_id=LeaseId(1)) == 1
    assert put(state, key, stored.owner_bytes(replace(owner, draining=True)), lease_id=LeaseId(1)) == 1
    assert put(state, "groups/g", b"") == 0
