"""Promise 4, clause by clause: a history that keeps it, and histories that don't."""

from libs.model.ids import TopicPartition
from tests.sim.checkers.p4_frontiers import check
from tests.unit.sim.checkers.telling import OTHER, TP, A, B, Telling


def told() -> Telling:
    """Epoch 1 to high watermark 5, DeleteRecords to 2, then epoch 2."""
    telling = Telling()
    telling.owns(A, 1)
    telling.state((A, 1, 0, None))
    telling.produced("a", "b", "c", "d", "e", at=0)
    telling.fetched(0, epoch=1, high_watermark=5)
    telling.state((A, 1, 0, None), log_start=2)
    telling.deleted_records(2)
    telling.owns(B, 2)
    telling.fetched(3, epoch=2, high_watermark=5, log_start=2)
    return telling


def test_frontiers_that_rise() -> None:
    telling = told()
    telling.listed(-1, 5, epoch=2)
    telling.listed(-2, 2, epoch=2)
    assert check(telling.end("c", "d", "e", log_start=2)) == []


def test_the_high_watermark_goes_back_within_an_epoch() -> None:
    telling = Telling()
    telling.fetched(0, epoch=1, high_watermark=5)
    telling.fetched(0, epoch=1, high_watermark=4)
    assert len(check(telling.history)) == 1


def test_an_answer_on_its_way_meanwhile_may_be_lower() -> None:
    telling = Telling()
    early = telling.fetched(0, epoch=1, high_watermark=4) - 1
    telling.fetched(0, epoch=1, high_watermark=5)
    telling.answered(early, 0, high_watermark=4)
    assert check(telling.history) == []


def test_the_log_start_goes_back() -> None:
    telling = told()
    telling.fetched(3, epoch=2, high_watermark=5, log_start=1)
    assert len(check(telling.end("c", "d", "e", log_start=2))) == 1


def test_the_earliest_offset_goes_back() -> None:
    telling = told()
    telling.listed(-2, 1, epoch=2)
    assert len(check(telling.end("c", "d", "e", log_start=2))) == 1


def test_a_stale_owner_may_not_know_the_new_epochs_log_start() -> None:
    telling = told()
    telling.state((B, 2, 0, None), log_start=3)
    telling.fetched(4, epoch=2, high_watermark=5, log_start=3)
    telling.fetched(3, epoch=1, high_watermark=5, log_start=2)
    assert check(telling.end("d", "e", log_start=3)) == []


def test_a_new_epoch_begins_below_what_was_acknowledged() -> None:
    telling = told()
    telling.fetched(3, epoch=3, high_watermark=4, log_start=2)
    assert len(check(telling.end("c", "d", "e", log_start=2))) == 1


def test_the_latest_offset_is_below_what_was_acknowledged() -> None:
    telling = told()
    telling.listed(-1, 4, epoch=3)
    assert len(check(telling.end("c", "d", "e", log_start=2))) == 1


def test_an_acknowledgement_under_a_later_epoch_says_nothing_about_an_earlier_one() -> None:
    telling = told()
    telling.produced("f", at=5)
    telling.fetched(5, "f", epoch=2, record_epoch=2, high_watermark=6, log_start=2)
    telling.fetched(5, epoch=1, high_watermark=5, log_start=2)
    assert check(telling.history) == []


def test_a_later_owner_may_acknowledge_what_an_earlier_one_stored_and_does_not_know() -> None:
    """Its PUT was stored and never answered; the producer sent the batch again, to the new owner."""
    telling = told()
    telling.produced("f", at=5)
    telling.fetched(5, "f", epoch=2, record_epoch=1, high_watermark=6, log_start=2)
    telling.fetched(5, epoch=1, high_watermark=5, log_start=2)
    assert check(telling.history) == []


def test_a_log_start_below_what_was_deleted() -> None:
    telling = Telling()
    telling.owns(A, 1)
    telling.state((A, 1, 0, None), log_start=2)
    telling.deleted_records(2)
    telling.fetched(1, epoch=1, log_start=0)
    assert len(check(telling.history)) == 1


def test_a_valid_offset_is_out_of_range() -> None:
    telling = told()
    telling.fetched(5, error="OFFSET_OUT_OF_RANGE")
    (violation,) = check(telling.end("c", "d", "e", log_start=2))
    assert "valid offset 5" in violation.what


def test_offset_0_of_a_new_topic_is_valid() -> None:
    telling = Telling()
    telling.fetched(0, error="OFFSET_OUT_OF_RANGE")
    assert len(check(telling.history)) == 1


def test_offsets_that_are_gone_or_not_yet_there_are_out_of_range() -> None:
    telling = told()
    telling.fetched(1, error="OFFSET_OUT_OF_RANGE")
    telling.fetched(6, error="OFFSET_OUT_OF_RANGE")
    assert check(telling.end("c", "d", "e", log_start=2)) == []


def test_a_log_start_is_served_before_it_is_committed() -> None:
    telling = told()
    telling.fetched(4, epoch=2, high_watermark=5, log_start=4)
    telling.state((B, 2, 0, None), log_start=4)
    (violation,) = check(telling.end("e", log_start=4))
    assert "served while the metadata store had 2" in violation.what


def test_a_log_start_of_the_topic_that_had_the_name_before_is_no_lie() -> None:
    """A gateway and an owner that were cut off answer by name, as they last heard: seed 2258 at 0e7d6d3."""
    telling = Telling()
    before = TopicPartition(OTHER, TP.partition)
    telling.committed_topic("t", OTHER)
    telling.state((A, 1, 0, None), tp=before, log_start=2)
    telling.committed_topic("t", TP.topic_id)
    telling.state((B, 0, 0, None))
    telling.listed(-2, 2, epoch=-1)
    assert check(telling.end()) == []
    telling.listed(-2, 3, epoch=-1)
    assert len(check(telling.end())) == 1


def test_a_log_start_is_acknowledged_before_it_is_committed() -> None:
    telling = told()
    telling.deleted_records(4)
    telling.state((B, 2, 0, None), log_start=4)
    assert len(check(telling.end("e", log_start=4))) == 1
