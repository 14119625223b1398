"""Promise 3: histories that keep it, and histories that don't."""

from tests.sim.checkers.p3_no_holes import check
from tests.sim.events import ProduceUnknown
from tests.unit.sim.checkers.telling import Telling


def told() -> Telling:
    """Producer 7 sends three batches; a plain one is between them; one is sent twice."""
    telling = Telling()
    telling.produced("a", "b", at=0, producer=(7, 0, 0))
    telling.produced("x", at=2)
    telling.sent("c", producer=(7, 0, 2))
    telling.produced("c", at=3, producer=(7, 0, 2))
    telling.produced("d", at=4, producer=(7, 0, 3))
    return telling


def test_in_order_each_once() -> None:
    telling = told()
    telling.fetched(1, "b", "x", "c")
    assert check(telling.end("a", "b", "x", "c", "d")) == []


def test_a_hole_in_an_answer() -> None:
    telling = told()
    call = telling.fetched(0, "a") - 1
    telling.answered(call, 2, "x")
    assert len(check(telling.end("a", "b", "x", "c", "d"))) == 1


def test_a_hole_at_the_end() -> None:
    assert len(check(told().end("a", "b", "x", "c", "d", high_watermark=6))) == 1


def test_a_batch_is_there_twice() -> None:
    found = check(told().end("a", "b", "x", "c", "c", "d"))
    assert any("by an idempotent producer" in violation.what for violation in found)


def test_a_plain_batch_sent_once_is_there_twice() -> None:
    assert len(check(told().end("a", "b", "x", "c", "d", "x"))) == 1


def test_a_plain_batch_sent_twice_may_be_there_twice() -> None:
    telling = told()
    telling.sent("x")
    assert check(telling.end("a", "b", "x", "c", "d", "x")) == []


def test_two_batches_change_places() -> None:
    assert check(told().end("a", "b", "x", "d", "c"))


def test_a_batch_is_missing_between_two() -> None:
    (violation,) = check(told().end("a", "b", "x", "d"))
    assert "sequence 3" in violation.what


def test_a_producer_begins_in_the_middle() -> None:
    (violation,) = check(told().end("b", "x", "c", "d"))
    assert "first of all" in violation.what


def test_a_producer_that_gave_its_first_batch_up_begins_behind_it() -> None:
    telling = Telling()
    first = telling.sent("a", producer=(7, 0, 0))
    telling.sent("b", producer=(7, 0, 1))
    assert len(check(telling.end("b"))) == 1, "it was sent when nobody had heard of the first"
    telling.add(ProduceUnknown(call=first, error="no answer in time"))
    telling.sent("b", producer=(7, 0, 1))
    assert check(telling.end("b")) == []
    telling.sent("a", producer=(7, 0, 0))
    assert len(check(telling.end("b"))) == 1, "the first was not given up"


def test_what_is_below_the_log_start_is_not_missing() -> None:
    assert check(told().end("b", "x", "c", "d", log_start=1)) == []


def test_a_partition_that_could_not_be_read_is_not_judged() -> None:
    assert check(told().end(high_watermark=4, error="REQUEST_TIMED_OUT")) == []
