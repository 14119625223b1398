"""Promise 5, clause by clause: a history that keeps it, and histories that don't."""

from libs.segments.keys import chain_object_key
from tests.sim.checkers.p5_clocks import check
from tests.unit.sim.checkers.telling import A, B, Telling


def told() -> Telling:
    """A wrote one object, was sealed, and B went on; then a late PUT of A landed behind the seals."""
    telling = Telling()
    telling.owns(A, 1)
    telling.state((A, 1, 0, None))
    first = telling.sent("a")
    telling.wal(A, 0, "a", base=0, epoch=1)
    telling.acked(first, 0)
    for seq in range(1, 5):
        telling.seal(A, seq)
    telling.owns(B, 2)
    telling.state((A, 1, 0, 1), (B, 2, 0, None))
    telling.wal(B, 0, "b", base=1, epoch=2)
    telling.sent("late")
    telling.wal(A, 5, "late", base=1, epoch=1)
    return telling


def test_a_late_put_hurts_nobody() -> None:
    telling = told()
    telling.fetched(0, "a", record_epoch=1)
    telling.fetched(1, "b", record_epoch=2)
    assert check(telling.history) == []


def test_an_earlier_epoch_behind_a_later_one() -> None:
    telling = told()
    telling.fetched(0, "a", record_epoch=2)
    telling.fetched(1, "b", record_epoch=1)
    assert len(check(telling.history)) == 1


def test_a_late_put_is_acknowledged() -> None:
    telling = Telling()
    telling.seal(A, 0)
    call = telling.sent("late")
    telling.wal(A, 1, "late")
    telling.acked(call, 1)
    (violation,) = check(telling.history)
    assert "was sealed at 0" in violation.what


def test_the_seal_that_ends_a_chain_is_deleted() -> None:
    telling = told()
    telling.gone(chain_object_key(A, 1))
    assert len(check(telling.history)) == 1


def test_other_seals_may_go() -> None:
    telling = told()
    telling.gone(chain_object_key(A, 2))
    assert check(telling.history) == []


def test_an_epoch_belongs_to_two() -> None:
    telling = told()
    telling.owns(A, 2)
    assert len(check(telling.history)) == 1


def test_an_assignment_goes_back() -> None:
    telling = told()
    telling.owns(A, 1)
    assert len(check(telling.history)) == 1


def test_a_position_is_closed_beyond_the_chains_end() -> None:
    telling = told()
    telling.state((A, 1, 0, 3), (B, 2, 0, None))
    assert len(check(telling.history)) == 1
