"""Promise 1, clause by clause: a history that keeps it, and histories that don't."""

from tests.sim.checkers.p1_durable import check
from tests.sim.checkers.removal import STALE_SECONDS
from tests.sim.events import ConfigsAcked, ConfigsAsked
from tests.unit.sim.checkers.telling import OTHER, TOPIC, A, B, Telling


def told() -> Telling:
    """Two objects of A, stored and acknowledged in order; read and left as they are."""
    telling = Telling()
    telling.created()
    telling.state((A, 1, 0, None))
    first, second = telling.sent("a", "b"), telling.sent("c")
    telling.wal(A, 0, "a", "b", base=0)
    telling.wal(A, 1, "c", base=2)
    telling.acked(first, 0)
    telling.acked(second, 2)
    telling.fetched(0, "a", "b", "c")
    return telling


def test_what_is_kept_is_no_violation() -> None:
    telling = told()
    assert check(telling.end("a", "b", "c")) == []


def test_an_acknowledgement_before_the_object_is_stored() -> None:
    telling = Telling()
    telling.state((A, 1, 0, None))
    telling.produced("a", at=0)
    telling.wal(A, 0, "a")
    (violation,) = check(telling.end("a"))
    assert "before an object made it durable" in violation.what


def test_an_acknowledgement_before_all_earlier_objects_are_stored() -> None:
    telling = Telling()
    telling.state((A, 1, 0, None))
    call = telling.sent("b")
    telling.wal(A, 1, "b", base=1)
    telling.acked(call, 1)
    telling.wal(A, 0, "a")
    assert len(check(telling.end("a", "b"))) == 1


def test_an_acknowledgement_of_what_lies_behind_a_seal() -> None:
    telling = Telling()
    telling.state((A, 1, 0, None))
    call = telling.sent("b")
    telling.seal(A, 0)
    telling.wal(A, 1, "b", base=0)
    telling.acked(call, 0)
    assert len(check(telling.history)) == 1


def test_an_acknowledgement_at_another_offset() -> None:
    telling = Telling()
    telling.state((A, 1, 0, None))
    call = telling.sent("a")
    telling.wal(A, 0, "a", base=3)
    telling.acked(call, 2)
    assert len(check(telling.history)) == 1


def test_an_acknowledgement_of_what_no_committed_state_names() -> None:
    telling = Telling()
    telling.state((B, 1, 0, None))
    call = telling.sent("a")
    telling.wal(A, 0, "a")
    telling.acked(call, 0)
    (violation,) = check(telling.history)
    assert "names none" in violation.what


def test_a_compacted_record_is_named_by_its_manifest() -> None:
    telling = Telling()
    telling.state((A, 1, 0, None))
    call = telling.sent("a")
    telling.wal(A, 0, "a")
    telling.state((A, 1, 1, None), manifest=telling.manifest(1, 0, end=1))
    telling.acked(call, 0)
    assert check(telling.history) == []


def test_a_later_fetch_returns_something_else() -> None:
    telling = told()
    telling.fetched(1, "x", "c")
    assert len(check(telling.end("a", "b", "c"))) == 1


def test_a_later_fetch_passes_over_it() -> None:
    telling = told()
    call = telling.add(telling.history.event(telling.fetched(1, "b", "c") - 1))
    telling.answered(call, 2, "c")
    (violation,) = check(telling.end("a", "b", "c"))
    assert "returned nothing" in violation.what


def test_an_earlier_fetch_may_not_know_it() -> None:
    telling = Telling()
    early = telling.fetched(0, error="") - 1
    telling.produced("a", at=0)
    telling.answered(early, 0, "z")
    assert check(telling.end("a")) == []


def test_it_is_gone_at_the_end() -> None:
    telling = told()
    assert len(check(telling.end("a", "b"))) == 1


def test_acks_0_promises_nothing() -> None:
    telling = Telling()
    telling.produced("a", at=0, acks=0)
    assert check(telling.end()) == []


def test_delete_records_may_take_it() -> None:
    telling = told()
    telling.deleted_records(2)
    assert check(telling.end("c", log_start=2)) == []


def test_delete_records_takes_no_more_than_was_asked() -> None:
    telling = told()
    telling.deleted_records(1)
    (violation,) = check(telling.end("c", log_start=2))
    assert "neither DeleteRecords nor retention" in violation.what


def test_nothing_may_take_it_without_being_asked() -> None:
    telling = told()
    telling.fetched(2, "c", log_start=2)
    assert len(check(telling.end("a", "b", "c"))) == 1


def test_retention_by_time_takes_what_is_old_enough() -> None:
    telling = told()
    telling.add(ConfigsAsked(topic_id=TOPIC, configs={"retention.ms": "60000"}))
    telling.wait(61)
    telling.add(None)
    assert check(telling.end("c", log_start=2)) == []


def test_retention_by_time_takes_nothing_younger() -> None:
    telling = told()
    telling.add(ConfigsAsked(topic_id=TOPIC, configs={"retention.ms": "60000"}))
    telling.wait(59)
    telling.add(None)
    assert len(check(telling.end("c", log_start=2))) == 1


def test_a_retention_counts_no_more_once_everybody_has_heard_of_another() -> None:
    for heard_seconds, findings in ((STALE_SECONDS / 2, 0), (STALE_SECONDS, 1)):
        telling = told()
        sooner = telling.add(ConfigsAsked(topic_id=TOPIC, configs={"retention.ms": "60001"}))
        telling.add(ConfigsAcked(call=sooner))
        telling.wait(60 - heard_seconds)
        later = telling.add(ConfigsAsked(topic_id=TOPIC, configs={"retention.ms": "-1"}))
        telling.add(ConfigsAcked(call=later))
        telling.wait(1000)
        telling.add(None)
        assert len(check(telling.end("c", log_start=2))) == findings


def test_a_retention_of_unknown_outcome_counts_for_ever_and_for_later_topics_of_the_name() -> None:
    telling = Telling()
    telling.add(ConfigsAsked(topic_id=OTHER, topic="t", configs={"retention.ms": "60000"}))
    telling.created(configs={"retention.ms": "-1"})
    telling.produced("a", "b", at=0)
    telling.wait(61)
    telling.add(None)
    assert check(telling.end(log_start=2)) == []


def test_retention_by_size_leaves_what_it_has_to() -> None:
    telling = Telling()
    telling.created(configs={"retention.bytes": "100000"})
    telling.produced("a", at=0, size_bytes=80_000)
    telling.produced("b", at=1, size_bytes=100_000)
    assert check(telling.end("b", log_start=1)) == []
    telling.produced("c", at=2, size_bytes=1_000)
    assert len(check(telling.end("c", log_start=2))) == 1


def test_an_ambiguous_acknowledgement_counts_for_nobody() -> None:
    """The topic may have been recreated before the batch arrived."""
    telling = Telling()
    telling.created()
    call = telling.sent("a")
    telling.deleted()
    telling.acked(call, 0)
    assert check(telling.end()) == []
