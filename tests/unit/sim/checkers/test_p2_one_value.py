"""Promise 2: histories that keep it, and histories that don't."""

from libs.segments.keys import chain_object_key
from tests.sim.checkers.p2_one_value import check
from tests.unit.sim.checkers.telling import A, Telling


def told() -> Telling:
    telling = Telling()
    telling.produced("a", at=0)
    telling.produced("b", at=1)
    telling.wal(A, 0, "a")
    telling.fetched(0, "a", "b", record_epoch=1)
    telling.fetched(1, "b", record_epoch=1)
    return telling


def test_reads_that_agree() -> None:
    assert check(told().end("a", "b", epoch=1)) == []


def test_two_reads_differ() -> None:
    telling = told()
    telling.fetched(1, "c", record_epoch=1)
    assert len(check(telling.end("a", "b", epoch=1))) == 1


def test_the_final_read_differs() -> None:
    assert len(check(told().end("a", "c", epoch=1))) == 2


def test_the_same_value_under_another_epoch_is_another_record() -> None:
    telling = told()
    telling.fetched(1, "b", record_epoch=2)
    assert len(check(telling.end("a", "b", epoch=1))) == 1


def test_one_offset_is_given_to_two() -> None:
    telling = told()
    telling.produced("c", at=1)
    assert len(check(telling.end("a", "b", epoch=1))) == 1


def test_an_object_is_replaced() -> None:
    telling = told()
    telling.wal(A, 0, "c")
    assert len(check(telling.end("a", "b", epoch=1))) == 1


def test_a_place_that_was_collected_may_be_taken_again() -> None:
    telling = told()
    telling.gone(chain_object_key(A, 0))
    telling.seal(A, 0)
    assert check(telling.end("a", "b", epoch=1)) == []
