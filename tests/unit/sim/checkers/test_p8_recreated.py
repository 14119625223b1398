"""Promise 8, clause by clause: a history that keeps it, and histories that don't."""

from libs.model.ids import Partition, TopicPartition
from tests.sim.checkers.p8_recreated import check
from tests.unit.sim.checkers.telling import OTHER, TOPIC, TP, Telling

NEW = TopicPartition(OTHER, Partition(0))


def told() -> Telling:
    """One record, deleted and recreated, one record of the new topic."""
    telling = Telling()
    telling.created()
    telling.produced("a", at=0)
    telling.fetched(0, "a", high_watermark=1)
    telling.committed(1)
    telling.deleted()
    telling.created(OTHER)
    telling.produced("b", at=0, tp=NEW)
    telling.fetched(0, "b", tp=NEW, high_watermark=1)
    telling.offset_fetched(-1, tp=NEW)
    return telling


def test_a_new_topic_is_new() -> None:
    assert check(told().history) == []


def test_an_old_record_comes_back() -> None:
    telling = told()
    telling.fetched(0, "a", tp=NEW, high_watermark=1)
    assert len(check(telling.history)) == 2


def test_a_batch_on_its_way_may_meet_the_new_topic() -> None:
    telling = Telling()
    telling.created()
    call = telling.sent("a")
    telling.deleted()
    telling.created(OTHER)
    telling.acked(call, 0)
    telling.fetched(0, "a", tp=NEW, high_watermark=1)
    assert check(telling.history) == []


def test_an_old_commit_comes_back() -> None:
    telling = told()
    telling.offset_fetched(1, tp=NEW)
    assert len(check(telling.history)) == 1


def test_a_new_topic_is_not_empty() -> None:
    telling = Telling()
    telling.created()
    telling.produced("a", at=0)
    telling.deleted()
    telling.created(OTHER)
    telling.fetched(0, tp=NEW, high_watermark=1)
    assert len(check(telling.history)) == 1


def test_an_id_is_given_again() -> None:
    telling = told()
    telling.deleted(OTHER)
    telling.created(OTHER)
    assert len(check(telling.history)) == 1


def test_a_state_names_another_topics_manifest() -> None:
    telling = told()
    key = telling.manifest(1, 0, end=1)
    telling.state(manifest=key, tp=TP)
    assert check(telling.history) == []
    telling.state(manifest=key, tp=NEW)
    assert len(check(telling.history)) == 1


def test_a_manifest_is_in_another_topics_folder() -> None:
    telling = told()
    key = telling.manifest(1, 0, end=1)
    body = telling.bucket()[key]
    telling.history.stored("store", key.replace(str(TOPIC), str(OTHER)), body)
    assert len(check(telling.history)) == 1
