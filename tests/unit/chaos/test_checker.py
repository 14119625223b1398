"""The history checker catches each kind of broken promise in histories made by hand, and nothing else."""

from collections.abc import Callable

import pytest

from tests.chaos.checker import SHOWN_OF_A_KIND, judge, summary
from tests.chaos.history import Ack, History, Poll
from tests.support.ledger import UNKNOWN_OFFSET, Place, Stamp, Violation

Truth = dict[Place, Stamp]


def _good() -> tuple[History, Truth]:
    """Two producers, two partitions, a group of two readers whose assignments changed once."""
    history = History()
    history.producers = {"a", "b"}
    history.sent = {("a", 0): 3, ("a", 1): 1}  # of b it isn't known
    truth = {
        Place(0, 0): Stamp("a", 0),
        Place(0, 1): Stamp("b", 0),
        Place(0, 2): Stamp("a", 1),
        Place(0, 3): Stamp("a", 2),
        Place(1, 0): Stamp("a", 0),
        Place(1, 1): Stamp("b", 1),
    }
    history.acks = [Ack(float(at), stamp, place, 0.01) for at, (place, stamp) in enumerate(truth.items())]
    history.polls = [
        Poll(1.0, "x", 1, Place(0, 0), Stamp("a", 0)),
        Poll(1.0, "y", 1, Place(1, 0), Stamp("a", 0)),
        Poll(2.0, "x", 1, Place(0, 1), Stamp("b", 0)),
        Poll(3.0, "y", 2, Place(0, 1), Stamp("b", 0)),  # again, in a new life
        Poll(3.0, "y", 2, Place(0, 2), Stamp("a", 1)),
        Poll(3.0, "x", 2, Place(1, 0), Stamp("a", 0)),
        Poll(4.0, "y", 2, Place(0, 3), Stamp("a", 2)),
        Poll(4.0, "x", 2, Place(1, 1), Stamp("b", 1)),
    ]
    return history, truth


def _kinds(history: History, truth: Truth) -> set[str]:
    return {violation.kind for violation in judge(history, truth, is_over=True)}


def test_a_good_history_is_clean() -> None:
    assert not judge(*_good(), is_over=True)


def test_an_acknowledgement_without_an_offset_is_one() -> None:
    history, truth = _good()
    history.acks[0] = history.acks[0]._replace(place=Place(0, UNKNOWN_OFFSET))
    assert not judge(history, truth, is_over=True)


def test_a_record_that_was_never_acknowledged_may_be_there() -> None:
    history, truth = _good()
    truth[Place(0, 4)] = Stamp("a", 3)
    assert not judge(history, truth, is_over=True)


def _lose(history: History, truth: Truth) -> None:
    del truth[Place(0, 3)]


def _duplicate(history: History, truth: Truth) -> None:
    truth[Place(0, 4)] = Stamp("a", 2)


def _reorder(history: History, truth: Truth) -> None:
    truth[Place(0, 4)] = Stamp("b", 4)
    truth[Place(0, 5)] = Stamp("b", 3)


def _hole(history: History, truth: Truth) -> None:
    truth[Place(0, 5)] = Stamp("a", 3)


def _two_values(history: History, truth: Truth) -> None:
    history.polls.append(Poll(9.0, "z", 1, Place(0, 1), Stamp("a", 1)))


def _one_offset_for_two(history: History, truth: Truth) -> None:
    history.acks.append(Ack(9.0, Stamp("b", 5), Place(0, 1)))


def _go_back(history: History, truth: Truth) -> None:
    history.polls.append(Poll(9.0, "y", 2, Place(0, 2), Stamp("a", 1)))


def _repeat(history: History, truth: Truth) -> None:
    history.polls.append(Poll(9.0, "y", 2, Place(0, 3), Stamp("a", 2)))


def _skip(history: History, truth: Truth) -> None:
    del history.polls[4]


def _send_back(history: History, truth: Truth) -> None:
    """What it was told is wrong, whatever the log says."""
    history.acks.append(Ack(9.0, Stamp("a", 3), Place(0, 1)))


def _unknown_producer(history: History, truth: Truth) -> None:
    truth[Place(1, 2)] = Stamp("nobody", 0)


def _unknown_number(history: History, truth: Truth) -> None:
    truth[Place(0, 4)] = Stamp("a", 4)


def _unseen(history: History, truth: Truth) -> None:
    del history.polls[-1]


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (_lose, "lost"),
        (_duplicate, "duplicated"),
        (_reorder, "reordered"),
        (_hole, "hole"),
        (_two_values, "two values"),
        (_one_offset_for_two, "one offset for two"),
        (_go_back, "poll went back"),
        (_repeat, "poll went back"),
        (_skip, "poll skipped"),
        (_send_back, "send went back"),
        (_unknown_producer, "from nowhere"),
        (_unknown_number, "from nowhere"),
        (_unseen, "unseen"),
    ],
)
def test_each_broken_promise_is_named(harm: Callable[[History, Truth], None], kind: str) -> None:
    history, truth = _good()
    harm(history, truth)
    assert kind in _kinds(history, truth)


def test_what_a_group_has_not_read_yet_is_no_harm() -> None:
    history, truth = _good()
    _unseen(history, truth)
    assert not judge(history, truth, is_over=False)


def test_a_summary_is_short() -> None:
    many = [Violation(kind="lost", what=str(number)) for number in range(100)]
    lines = summary([*many, Violation(kind="hole", what="one")])
    assert len(lines) == SHOWN_OF_A_KIND + 2
    assert lines[0] == "hole: one"
    assert lines[-1] == "lost: 100 of them"
