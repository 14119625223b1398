"""The page shows what happened, and needs nothing from elsewhere."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.chaos.history import Ack, History, Poll
from tests.chaos.nemesis import Interval
from tests.chaos.report import figures, page
from tests.chaos.run import Outcome, Plan, unsteady
from tests.chaos.schedule import Fault
from tests.chaos.timeline import longest_pause, quantile, seconds_of
from tests.support.ledger import Place, Stamp

BEGAN = 100.0


def _outcome() -> Outcome:
    """Ten seconds with a record each tenth of a second, and none in seconds 4 and 5."""
    fault = Fault(kind="kill owner", at=3.5, lasts=2.0, targets=("owner-1",))
    outcome = Outcome(plan=Plan(seed=7, seconds=10, faults=[fault], command="make chaos <SEED=7>"))
    outcome.began_at, outcome.ended_at = BEGAN, BEGAN + 10
    outcome.intervals = [Interval(fault=fault, began_at=BEGAN + 3.5, ended_at=BEGAN + 6.0)]
    history = History()
    for number in range(100):
        at = BEGAN + number / 10
        if 4 <= at - BEGAN < 6:
            continue
        place, stamp = Place(0, number), Stamp("a", number)
        history.acks.append(Ack(at, stamp, place, 0.01 * (1 + number % 10)))
        history.polls.append(Poll(at, "x", 1, place, stamp))
    outcome.history = history
    return outcome


def test_seconds_have_their_records_and_latencies() -> None:
    seconds = seconds_of(_outcome().history, BEGAN, BEGAN + 10)
    assert [each.acks for each in seconds] == [10, 10, 10, 10, 0, 0, 10, 10, 10, 10]
    assert seconds[0].p50_seconds == pytest.approx(0.05)
    assert seconds[0].p99_seconds == pytest.approx(0.1)
    assert seconds[4].p50_seconds is None


def test_quantile_is_one_of_the_values() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 0.9) == 3.0
    assert quantile([3.0, 1.0, 2.0], 0.0) == 1.0
    assert quantile([], 0.5) is None


def test_the_longest_pause_counts_from_the_beginning_to_the_end() -> None:
    assert longest_pause([], 0.0, 5.0) == (5.0, 0.0)
    assert longest_pause([1.0, 2.0, 2.5], 0.0, 5.0) == (2.5, 2.5)


def test_the_page_is_self_contained_and_escaped() -> None:
    outcome = _outcome()
    text = page(outcome)
    HTMLParser().feed(text)
    assert not re.search(r"(src|href)=|https?://|@import", text)
    assert "No promise was broken" in text
    assert "make chaos &lt;SEED=7&gt;" in text
    assert "kill owner: owner-1" in text
    assert "2.1 s, from second 4 on" in figures(outcome)["longest time without any acknowledgement"]


def test_a_finding_is_the_first_thing_to_see() -> None:
    outcome = _outcome()
    outcome.findings.append("lost: <record>")
    assert "Broken" in page(outcome)
    assert "lost: &lt;record&gt;" in page(outcome)


def test_what_promise_6_excludes_is_found() -> None:
    outcome = _outcome()
    outcome.intervals = [replace(outcome.intervals[0], began_at=BEGAN + 1, ended_at=BEGAN + 9.5)]
    assert not unsteady(outcome)
    outcome.history.acks = [ack for ack in outcome.history.acks if not 2 < ack.at - BEGAN < 9]
    outcome.history.polls.append(Poll(BEGAN + 9, "x", 2, Place(0, 1), Stamp("a", 1)))
    assert len(unsteady(outcome)) == 2
