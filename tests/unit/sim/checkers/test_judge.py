"""There is one judge for each promise, and none of them finds anything where nothing happened."""

from tests.sim.checkers.judge import CHECKERS, judge
from tests.sim.history import History


def test_one_for_each_promise() -> None:
    promises = [name for name in CHECKERS if name.startswith("p")]
    assert [name.partition("_")[0] for name in promises] == [f"p{number}" for number in range(1, 9)]
    assert set(CHECKERS) - set(promises) == {
        "groups",
        "topic_changes",
        "shares",
        "no_orphan",
        "no_live_collected",
    }


def test_an_empty_history_breaks_nothing() -> None:
    assert judge(History(lambda: 0.0)) == []
