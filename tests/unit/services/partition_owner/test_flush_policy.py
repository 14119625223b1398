"""When to flush: each clause of the design's rule, and the PUT budget."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.partition_owner.flush_policy import (
    GATHER_SECONDS_MAX,
    NEVER,
    FlushLimits,
    FlushPolicy,
    PutBudget,
)

LIMITS = FlushLimits(
    linger_seconds=0.002, alone_seconds=0.03, age_seconds_max=0.25, object_bytes_target=1000, in_flight_max=4
)


def policy(*, per_second: float = 10.0, burst: float = 1.0, spent: int = 0, at: float = 0.0) -> FlushPolicy:
    made = FlushPolicy(LIMITS, PutBudget(per_second=per_second, burst=burst))
    for _ in range(spent):
        made.flushed(at)
    return made


def due(made: FlushPolicy, now: float, **what: float | None) -> float:
    return made.flush_at(
        now,
        waiting_since=what.get("since", 10.0),
        waiting_bytes=int(what.get("bytes", 1) or 0),
        in_flight=int(what.get("in_flight", 0) or 0),
        urgent=bool(what.get("urgent", 0)),
    )


def test_nothing_waits_nothing_is_due() -> None:
    assert due(policy(), 10.0, since=None) == NEVER


def test_nothing_in_flight_after_the_linger_whatever_the_budget() -> None:
    assert due(policy(per_second=0, spent=5, at=10.0), 10.0) == pytest.approx(10.002)


def test_those_who_were_answered_may_come_back_before_the_next_put() -> None:
    made = policy()
    for _ in range(50):
        made.finished(10.0, put_seconds=0.010)
    assert due(made, 10.0, since=9.0) == pytest.approx(10.005, abs=1e-4)
    assert due(made, 10.0, since=10.004) == pytest.approx(10.006), "the linger of the first still counts"


def test_a_slow_store_is_not_waited_for_as_long_as_it_takes() -> None:
    made = policy()
    for _ in range(50):
        made.finished(10.0, put_seconds=0.5)
    assert due(made, 10.0, since=9.0) == pytest.approx(10.0 + GATHER_SECONDS_MAX)


def test_with_others_in_flight_nobody_gathers() -> None:
    made = policy()
    made.finished(10.0, put_seconds=0.1)
    assert due(made, 10.0, since=9.999, in_flight=1) == pytest.approx(10.001)


def test_a_put_is_alone_for_a_while() -> None:
    made = policy(burst=2, spent=1, at=10.0)
    assert due(made, 10.001, since=10.001, in_flight=1) == pytest.approx(10.030)
    assert due(made, 10.1, since=10.001, in_flight=1) == pytest.approx(10.1)


def test_a_full_window_waits_for_an_event() -> None:
    assert due(policy(), 10.0, in_flight=4, bytes=10_000, urgent=1) == NEVER


def test_enough_bytes_go_at_once() -> None:
    assert due(policy(per_second=0, spent=5), 10.0, in_flight=3, bytes=1000) == 10.0


def test_within_the_budget_after_the_linger() -> None:
    assert due(policy(), 10.0, in_flight=1) == pytest.approx(10.002)


def test_beyond_the_budget_when_a_token_comes() -> None:
    assert due(policy(spent=1, at=10.0), 10.0, in_flight=1) == pytest.approx(10.1)


def test_never_later_than_the_age() -> None:
    assert due(policy(per_second=0.001, spent=1, at=10.0), 10.0, in_flight=1) == pytest.approx(10.25)


def test_urgent_goes_at_once() -> None:
    assert due(policy(per_second=0), 10.0, since=None, urgent=1) == 10.0


def test_budget_may_be_overdrawn_by_its_burst_only() -> None:
    budget = PutBudget(per_second=10, burst=2)
    for _ in range(10):
        budget.spend(0.0)
    assert budget.available_at(0.0) == pytest.approx(0.3)


@given(
    st.lists(st.floats(0.0, 0.5), max_size=60),
    st.floats(1.0, 50.0),
    st.integers(1, 10),
)
def test_flushes_beside_others_keep_to_the_budget(gaps: list[float], per_second: float, burst: int) -> None:
    """Whoever flushes only when the budget allows spends no more than burst + rate * time."""
    budget = PutBudget(per_second=per_second, burst=burst)
    now = 0.0
    spent = 0
    for gap in gaps:
        now += gap
        if budget.available_at(now) <= now:
            budget.spend(now)
            spent += 1
        assert spent <= burst + per_second * now + 1e-6
    assert math.isfinite(budget.available_at(now))
