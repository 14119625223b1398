"""ClusterView: snapshots replace, changes follow, nothing half applied is ever seen."""

from uuid import UUID

from libs.clients import convert
from libs.clients.view import ClusterView
from libs.model.cluster import Assignment, Owner, Predecessor, Topic
from libs.model.ids import LeaderEpoch, OwnerId, Partition, SessionId, TopicId, TopicName, TopicPartition
from proto.metadata_api.metadata_api_pb2 import AssignmentEntry, Change, WatchEvent

SESSION = SessionId(UUID(int=7))
ORDERS = Topic(name=TopicName("orders"), topic_id=TopicId(UUID(int=1)), partitions=2)
ORDERS_AGAIN = Topic(name=TopicName("orders"), topic_id=TopicId(UUID(int=2)), partitions=1)
OWNER = Owner(owner_id=OwnerId("owner-0"), address="a:1", zone="z", session=SESSION)
ASSIGNMENT = Assignment(
    topic_id=ORDERS.topic_id,
    partition=Partition(1),
    owner_id=OWNER.owner_id,
    session=SESSION,
    leader_epoch=LeaderEpoch(3),
    predecessors=(Predecessor(session=SessionId(UUID(int=9)), leader_epoch=LeaderEpoch(2)),),
)
AT = TopicPartition(ORDERS.topic_id, Partition(1))


def _topic(topic: Topic, *, removed: bool = False) -> Change:
    return Change(topic=convert.topic_message(topic), removed=removed)


def _assignment(assignment: Assignment, *, removed: bool = False) -> Change:
    entry = AssignmentEntry(
        topic_id=assignment.topic_id.bytes,
        partition=assignment.partition,
        assignment=convert.assignment_message(assignment),
    )
    return Change(assignment=entry, removed=removed)


def _snapshot(*changes: Change, revision: int = 5, more: bool = False) -> WatchEvent:
    return WatchEvent(revision=revision, snapshot=True, more=more, changes=changes, cluster_id="c")


def test_a_snapshot_fills_the_view() -> None:
    view = ClusterView()
    owner = Change(owner=convert.owner_message(OWNER))
    assert view.apply(_snapshot(_topic(ORDERS), _assignment(ASSIGNMENT), owner))
    assert view.topics_by_name[ORDERS.name] == ORDERS
    assert view.assignments[AT] == ASSIGNMENT
    assert view.owners == {OWNER.owner_id: OWNER}
    assert (view.revision, view.version, view.cluster_id) == (5, 1, "c")


def test_parts_of_a_snapshot_are_seen_only_together() -> None:
    view = ClusterView()
    view.apply(_snapshot(_topic(ORDERS_AGAIN)))
    assert not view.apply(_snapshot(_topic(ORDERS), more=True, revision=8))
    assert view.topics_by_name[ORDERS.name] == ORDERS_AGAIN
    assert view.apply(_snapshot(_assignment(ASSIGNMENT), revision=8))
    assert view.topics_by_name[ORDERS.name] == ORDERS
    assert list(view.topics) == [ORDERS.topic_id]


def test_a_broken_snapshot_leaves_nothing_behind() -> None:
    view = ClusterView()
    view.apply(_snapshot(_topic(ORDERS), more=True))
    view.forget_partial_snapshot()
    view.apply(_snapshot(_assignment(ASSIGNMENT)))
    assert not view.topics
    assert list(view.assignments) == [AT]


def test_changes_follow_and_progress_changes_nothing() -> None:
    view = ClusterView()
    view.apply(_snapshot(_topic(ORDERS), _assignment(ASSIGNMENT)))
    assert view.apply(WatchEvent(revision=6, changes=[_assignment(ASSIGNMENT, removed=True)]))
    assert not view.assignments
    version = view.version
    assert not view.apply(WatchEvent(revision=9))
    assert (view.revision, view.version) == (9, version)


def test_a_recreated_topic_replaces_the_one_that_had_its_name() -> None:
    view = ClusterView()
    view.apply(_snapshot(_topic(ORDERS)))
    view.apply(WatchEvent(revision=6, changes=[_topic(ORDERS_AGAIN)]))
    assert list(view.topics) == [ORDERS_AGAIN.topic_id]
    # The removal of the old one may come late: the new one has the name now.
    view.apply(WatchEvent(revision=7, changes=[_topic(ORDERS, removed=True)]))
    assert view.topics_by_name[ORDERS.name] == ORDERS_AGAIN
