"""The checker of the chaos tests catches every kind of wrong history."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.support.ledger import UNKNOWN_OFFSET, Ledger, Place, Stamp, compare_reads

PARTITIONS = 3
RECORDS = 40


@dataclass
class History:
    """Two producers, three partitions; what was acknowledged and what is read."""

    acknowledged: dict[Place, Stamp] = field(default_factory=dict)
    read: dict[Place, Stamp] = field(default_factory=dict)

    def ledger(self) -> Ledger:
        ledger = Ledger()
        for place, stamp in self.acknowledged.items():
            ledger.acknowledged(stamp, place)
        return ledger

    def kinds(self) -> set[str]:
        return {violation.kind for violation in self.ledger().judge(self.read)}


def _right() -> History:
    """Every fifth record was never acknowledged and is there all the same."""
    history = History()
    for partition in range(PARTITIONS):
        for offset in range(RECORDS):
            stamp = Stamp(f"producer-{offset % 2}", 10 * offset)
            place = Place(partition, offset)
            history.read[place] = stamp
            if offset % 5:
                history.acknowledged[place] = stamp
    return history


def test_a_right_history_is_not_blamed() -> None:
    history = _right()
    assert history.ledger().judge(history.read) == []
    assert compare_reads(history.read, list(history.read.items()) * 2) == []
    assert history.ledger().ends() == dict.fromkeys(range(PARTITIONS), RECORDS)


def test_what_was_acknowledged_after_the_reading_began_may_be_missing() -> None:
    history = _right()
    ledger = history.ledger()
    known = len(ledger)
    ledger.acknowledged(Stamp("producer-0", 999), Place(0, RECORDS))
    assert ledger.judge(history.read, upto=known) == []
    assert [violation.kind for violation in ledger.judge(history.read)] == ["lost"]


def test_a_record_without_acknowledgement_may_be_missing() -> None:
    """The last one: then nothing comes after it, and no hole is left."""
    history = _right()
    last = Place(1, RECORDS - 1)
    del history.read[last], history.acknowledged[last]
    assert history.kinds() == set()


def test_what_is_below_the_log_start_may_be_gone_and_nothing_above_it() -> None:
    history = _right()
    for offset in range(8):
        del history.read[Place(0, offset)]
    starts = {0: 8}
    assert history.ledger().judge(history.read, starts=starts) == []
    del history.read[Place(0, 8)]
    kinds = {violation.kind for violation in history.ledger().judge(history.read, starts=starts)}
    assert kinds == {"lost", "hole"}


def _lose_last(history: History) -> None:
    del history.read[Place(0, RECORDS - 1)]


def _lose_middle(history: History) -> None:
    del history.read[Place(0, 7)]


def _lose_partition(history: History) -> None:
    for offset in range(RECORDS):
        del history.read[Place(2, offset)]


def _lose_first(history: History) -> None:
    del history.read[Place(0, 0)]


def _overwrite(history: History) -> None:
    history.read[Place(1, 11)] = Stamp("producer-7", 1)


def _duplicate_at_end(history: History) -> None:
    history.read[Place(1, RECORDS)] = history.read[Place(1, RECORDS - 2)]


def _duplicate_unacknowledged(history: History) -> None:
    history.read[Place(1, RECORDS)] = history.read[Place(1, 5)]


def _swap(history: History) -> None:
    a, b = Place(0, 6), Place(0, 8)
    history.read[a], history.read[b] = history.read[b], history.read[a]


def _swap_unacknowledged(history: History) -> None:
    a, b = Place(0, 10), Place(0, 20)
    history.read[a], history.read[b] = history.read[b], history.read[a]


def _shift(history: History) -> None:
    """All of a partition's records are there, in order, one further than was said."""
    for offset in reversed(range(20, RECORDS)):
        history.read[Place(2, offset + 1)] = history.read[Place(2, offset)]
    history.read[Place(2, 20)] = Stamp("producer-9", 0)


def _other_partition(history: History) -> None:
    history.read[Place(0, RECORDS)] = Stamp("producer-1", 10 * RECORDS)
    del history.read[Place(1, RECORDS - 1)]


@pytest.mark.parametrize(
    ("spoil", "kinds"),
    [
        (_lose_last, {"lost"}),
        (_lose_middle, {"lost", "hole"}),
        (_lose_partition, {"lost"}),
        (_lose_first, {"hole"}),
        (_overwrite, {"lost"}),
        (_duplicate_at_end, {"duplicated"}),
        (_duplicate_unacknowledged, {"duplicated"}),
        (_swap, {"misplaced", "reordered"}),
        (_swap_unacknowledged, {"reordered"}),
        (_shift, {"misplaced"}),
        (_other_partition, {"lost"}),
    ],
)
def test_a_wrong_history_is_caught(spoil: Callable[[History], None], kinds: set[str]) -> None:
    history = _right()
    spoil(history)
    assert history.kinds() == kinds


def test_one_offset_for_two_records_is_caught() -> None:
    ledger = _right().ledger()
    ledger.acknowledged(Stamp("producer-1", 77), Place(0, 7))
    assert "one offset for two" in {violation.kind for violation in ledger.judge(_right().read)}


def test_an_acknowledgement_without_an_offset_is_a_promise_too() -> None:
    history = _right()
    ledger = history.ledger()
    ledger.acknowledged(history.read[Place(2, 5)], Place(2, UNKNOWN_OFFSET))
    ledger.acknowledged(history.read[Place(2, 6)], Place(2, UNKNOWN_OFFSET))
    assert ledger.judge(history.read) == []
    assert ledger.ends() == history.ledger().ends()
    ledger.acknowledged(Stamp("producer-0", 5), Place(2, UNKNOWN_OFFSET))
    assert [violation.kind for violation in ledger.judge(history.read)] == ["lost"]


def test_another_reader_who_saw_something_else_is_caught() -> None:
    history = _right()
    elsewhere = [(Place(0, 7), Stamp("producer-0", 1)), (Place(0, RECORDS + 5), Stamp("producer-0", 1))]
    assert [violation.kind for violation in compare_reads(history.read, elsewhere)] == ["two values"]


def test_any_single_loss_exchange_or_repetition_is_caught() -> None:
    random = Random(7)
    for _ in range(200):
        history = _right()
        victim = random.choice(sorted(history.acknowledged))
        other = random.choice([place for place in sorted(history.read) if place != victim])
        match random.choice(["lose", "exchange", "repeat"]):
            case "lose":
                del history.read[victim]
            case "exchange":
                history.read[victim], history.read[other] = history.read[other], history.read[victim]
                if history.read == _right().read:
                    continue
            case "repeat":
                history.read[Place(victim.partition, RECORDS)] = history.read[victim]
        assert history.kinds(), (victim, other)


@pytest.mark.parametrize("stamp", [Stamp("p", 0), Stamp("a.b-c", 12345678901)])
def test_a_stamp_survives_the_wire(stamp: Stamp) -> None:
    assert Stamp.of(stamp.value()) == stamp


@pytest.mark.parametrize("value", [b"", b"p", b"p.x", b"p."])
def test_what_is_no_stamp_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - int() words it
        Stamp.of(value)
