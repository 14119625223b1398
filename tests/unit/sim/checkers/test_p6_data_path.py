"""Promise 6: histories that keep it, and histories that don't."""

from tests.sim.checkers.p6_data_path import ANSWER_SECONDS_MAX, check
from tests.sim.events import ProduceUnknown
from tests.sim.facts import DataPathClear, MetadataAway, MetadataBack
from tests.unit.sim.checkers.telling import TP, Telling

CLEAR = DataPathClear(partitions=frozenset((TP,)))
NOBODY = DataPathClear(partitions=frozenset())


def away(*, clear: DataPathClear = CLEAR) -> Telling:
    telling = Telling()
    telling.add(MetadataAway())
    telling.add(clear)
    return telling


def back(telling: Telling) -> Telling:
    telling.wait(60)
    telling.add(MetadataBack())
    return telling


def test_the_data_path_goes_on() -> None:
    telling = away()
    call = telling.sent("a")
    telling.wait(ANSWER_SECONDS_MAX - 1)
    telling.acked(call, 0)
    telling.fetched(0, "a")
    telling.fetched(99, error="OFFSET_OUT_OF_RANGE")
    assert check(back(telling).history) == []


def test_a_produce_is_not_answered() -> None:
    telling = away()
    telling.sent("a")
    assert len(check(back(telling).history)) == 1


def test_a_produce_is_answered_late() -> None:
    telling = away()
    call = telling.sent("a")
    telling.wait(ANSWER_SECONDS_MAX + 1)
    telling.acked(call, 0)
    assert len(check(back(telling).history)) == 1


def test_a_produce_fails() -> None:
    telling = away()
    telling.add(ProduceUnknown(call=telling.sent("a"), error="REQUEST_TIMED_OUT"))
    assert len(check(back(telling).history)) == 1


def test_a_fetch_fails() -> None:
    telling = away()
    telling.fetched(0, error="NOT_LEADER_OR_FOLLOWER")
    assert len(check(back(telling).history)) == 1


def test_a_topic_is_forgotten() -> None:
    telling = away()
    telling.fetched(0, error="UNKNOWN_TOPIC_OR_PARTITION")
    assert len(check(back(telling).history)) == 1


def test_a_topic_that_was_deleted_just_before_may_be_unknown() -> None:
    telling = Telling()
    telling.deleted()
    telling.add(MetadataAway())
    telling.add(CLEAR)
    telling.fetched(0, error="UNKNOWN_TOPIC_OR_PARTITION")
    assert check(back(telling).history) == []


def test_a_partition_whose_path_is_disturbed_may_wait() -> None:
    telling = away(clear=NOBODY)
    telling.sent("a")
    telling.fetched(0, error="NOT_LEADER_OR_FOLLOWER")
    assert check(back(telling).history) == []


def test_a_disturbance_ends_what_is_promised() -> None:
    telling = away()
    telling.sent("a")
    telling.wait(1)
    telling.add(NOBODY)
    assert check(back(telling).history) == []


def test_nothing_is_promised_while_metadata_is_there() -> None:
    telling = Telling()
    telling.add(CLEAR)
    telling.sent("a")
    telling.wait(60)
    telling.add(None)
    assert check(telling.history) == []
