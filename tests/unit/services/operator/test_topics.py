"""Decisions about topics: made, grown, refused, adopted, let go."""

from typing import Any
from uuid import UUID

from libs.model.cluster import Topic
from libs.model.ids import TopicId, TopicName
from services.operator.topic_spec import TopicResource, topic_of
from services.operator.topics import (
    FINALIZER,
    Adopt,
    Announce,
    Claim,
    Conflict,
    Create,
    Decision,
    LetGo,
    Refuse,
    Remove,
    Settled,
    Update,
    decide,
)
from tests.unit.services.operator.making import topic_object

ID = TopicId(UUID(int=1))
OTHER = TopicId(UUID(int=2))


def topic(*, topic_id: TopicId = ID, partitions: int = 1, configs: dict[str, str] | None = None) -> Topic:
    return Topic(name=TopicName("orders"), topic_id=topic_id, partitions=partitions, configs=configs or {})


def resource(
    name: str = "orders",
    *,
    topic_id: TopicId | None = None,
    announced: dict[str, Any] | None = None,
    claimed: bool = True,
    deleting: bool = False,
    created: str = "2026-01-01",
    **spec: Any,
) -> TopicResource:
    item = topic_object(name, **spec)
    item["metadata"] |= {
        "creationTimestamp": created,
        "finalizers": [FINALIZER] if claimed else [],
        "deletionTimestamp": "2026-01-02" if deleting else None,
    }
    item["status"] = {"topicId": str(topic_id) if topic_id else None, "announced": announced}
    return topic_of(item)


def decided(what: TopicResource, found: Topic | None, *others: TopicResource, **flags: bool) -> Decision:
    return decide(what, found, rivals=[what, *others], **flags)


def test_a_topic_is_claimed_announced_and_created() -> None:
    assert decided(resource(claimed=False), None) == Claim()
    assert decided(resource(), None) == Announce()
    configs = {"cleanup.policy": "compact", "retention.ms": "5"}
    announced = {"partitions": 3, "configs": configs}
    wanted = resource(announced=announced, partitions=3, retentionMs=5, config={"cleanup.policy": "compact"})
    assert decided(wanted, None) == Create(partitions=3, configs=configs)


def test_a_topic_that_was_created_before_a_crash_is_its_own() -> None:
    announced = {"partitions": 1, "configs": {}}
    assert decided(resource(announced=announced), topic()) == Adopt(topic_id=ID)
    edited = resource(announced=announced, partitions=3, retentionMs=5)
    assert decided(edited, topic()) == Adopt(topic_id=ID)
    assert decided(edited, None) == Create(partitions=1, configs={}), "it may be on its way"
    assert isinstance(decided(edited, topic(partitions=3, configs={"retention.ms": "5"})), Refuse)


def test_it_grows_and_its_configs_follow() -> None:
    wanted = resource(topic_id=ID, partitions=3, retentionBytes=7)
    assert decided(wanted, topic()) == Update(topic_id=ID, partitions=3, configs={"retention.bytes": "7"})
    same = topic(partitions=3, configs={"retention.bytes": "7"})
    assert decided(wanted, same) == Settled()


def test_shrinking_is_refused_and_nothing_else_is_changed() -> None:
    step = decided(resource(topic_id=ID, partitions=2, retentionMs=1), topic(partitions=5))
    assert isinstance(step, Refuse)
    assert step.reason == "PartitionsCannotShrink"
    assert "5 partitions" in step.message


def test_a_topic_of_a_client_is_adopted_only_when_asked() -> None:
    step = decided(resource(), topic())
    assert isinstance(step, Refuse)
    assert step.reason == "AlreadyExists"
    assert decided(resource(adopt=True), topic()) == Adopt(topic_id=ID)


def test_a_topic_that_was_made_anew_is_another() -> None:
    step = decided(resource(topic_id=ID, partitions=4), topic(topic_id=OTHER))
    assert isinstance(step, Refuse)
    assert step.reason == "Recreated"
    assert decided(resource(topic_id=ID, adopt=True), topic(topic_id=OTHER)) == Adopt(topic_id=OTHER)


def test_a_topic_that_somebody_deleted_is_made_again() -> None:
    assert decided(resource(topic_id=ID), None) == Announce()


def test_the_second_of_two_has_the_conflict() -> None:
    first = resource("first", topicName="orders", created="2026-01-01")
    second = resource("second", topicName="orders", created="2026-01-02")
    assert decided(first, None, second) == Announce()
    assert decided(second, None, first) == Conflict(other="first")
    has_it = resource("third", topicName="orders", created="2026-01-03", topic_id=ID)
    assert decided(first, topic(), has_it) == Conflict(other="third")
    elsewhere = resource("fourth", topicName="orders", created="2025-01-01", cluster="other")
    assert decided(first, None, elsewhere) == Announce()


def test_who_is_getting_the_topic_has_it() -> None:
    first = resource(
        "first", topicName="orders", announced={"partitions": 1, "configs": {}}, created="2026-01-02"
    )
    second = resource("second", topicName="orders", created="2026-01-01")
    assert decided(second, None, first) == Conflict(other="first")


def test_what_an_operator_of_before_announced_is_its_own() -> None:
    item = topic_object("orders", partitions=2)
    item["metadata"] |= {"finalizers": [FINALIZER]}
    item["status"] = {"creating": True}
    assert decided(topic_of(item), topic(partitions=2)) == Adopt(topic_id=ID)


def test_when_the_first_goes_the_second_may_have_it() -> None:
    second = resource("second", topicName="orders", created="2026-01-02", adopt=True)
    assert decided(second, topic()) == Adopt(topic_id=ID)


def test_deletion_follows_the_policy_and_the_id() -> None:
    gone: dict[str, Any] = {"deleting": True, "topic_id": ID}
    assert decided(resource(**gone), topic()) == LetGo()
    assert decided(resource(**gone, deletionPolicy="delete"), topic()) == Remove(topic_id=ID)
    assert decided(resource(**gone, deletionPolicy="delete"), topic(topic_id=OTHER)) == LetGo()
    assert decided(resource(**gone, deletionPolicy="delete"), None) == LetGo()
    assert decided(resource(**gone, claimed=False), topic()) == Settled()


def test_the_second_of_two_deletes_nothing() -> None:
    second = resource("second", topicName="orders", deleting=True, deletionPolicy="delete")
    assert decided(second, topic()) == LetGo()


def test_without_its_cluster() -> None:
    step = decided(resource(topic_id=ID), None, cluster_exists=False)
    assert isinstance(step, Refuse)
    assert step.reason == "ClusterNotFound"
    gone = resource(topic_id=ID, deleting=True, deletionPolicy="delete")
    assert decided(gone, None, cluster_exists=False) == LetGo()
