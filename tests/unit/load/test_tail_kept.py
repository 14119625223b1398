"""The verdict over the tail's latency beside a trouble: a factor, or a floor, whichever is more."""

import pytest

from tests.load.tail_kept import Latency, judge_tail, latency_of


def latency(p50: float, p99: float) -> Latency:
    return Latency(count=100, p50=p50, p99=p99, longest=p99)


@pytest.mark.parametrize(
    ("beside", "without", "findings"),
    [
        (latency(0.02, 0.1), latency(0.02, 0.1), 0),
        (latency(0.4, 1.9), latency(0.01, 0.02), 0),
        (latency(0.6, 1.9), latency(0.01, 0.02), 1),
        (latency(0.4, 2.1), latency(0.01, 0.02), 1),
        (latency(3.0, 9.0), latency(0.1, 0.3), 2),
        (latency(3.0, 9.0), latency(1.0, 3.0), 0),
    ],
    ids=["same", "below both floors", "p50 grew", "p99 grew", "both grew", "a busy machine"],
)
def test_a_latency_may_grow_by_a_factor_or_to_a_floor(
    beside: Latency, without: Latency, findings: int
) -> None:
    verdict = judge_tail(beside, without)
    assert len(verdict.findings) == findings
    assert verdict.told.startswith("tail lost" if findings else "tail kept")


def test_nothing_read_is_no_verdict() -> None:
    nothing = latency_of([], [(0.0, 1.0)])
    assert judge_tail(nothing, latency(0.1, 0.1)).findings
    assert judge_tail(latency(0.1, 0.1), nothing).findings


def test_only_what_was_sent_in_a_window_counts() -> None:
    read = [(0.5, 0.6), (1.5, 4.5), (2.5, 2.7)]
    assert latency_of(read, [(0.0, 1.0), (2.0, 3.0)]).count == 2
    assert latency_of(read, [(0.0, 1.0), (2.0, 3.0)]).longest == pytest.approx(0.2)
    assert latency_of(read, [(1.0, 2.0)]).p99 == pytest.approx(3.0)
