"""Retry: jitter, both bounds, and the predicate."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from libs.concurrency.rand import SeededRand
from libs.concurrency.retry import Backoff, RetryPolicy, retry
from libs.model.errors import KafscaleError, NotFound, Unavailable


class Flaky:
    """Fails with each of `errors` in turn, then answers with the number of calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


def is_unavailable(error: KafscaleError) -> bool:
    return isinstance(error, Unavailable)


@given(st.integers(min_value=1, max_value=5_000), st.integers())
def test_delay_is_within_the_doubling_bound(failures: int, seed: int) -> None:
    backoff = Backoff(first_seconds=0.1, max_seconds=3.0)
    delay_seconds = backoff.delay_seconds(failures, SeededRand(seed))
    assert 0 <= delay_seconds <= min(3.0, 0.1 * 2 ** min(failures - 1, 10))


async def test_succeeds_after_failures_and_tells_of_each(autojump_clock: MockClock) -> None:
    flaky = Flaky(Unavailable("one"), Unavailable("two"))
    heard: list[tuple[str, int]] = []
    answer = await retry(
        flaky,
        policy=RetryPolicy(),
        rand=SeededRand(1),
        when=is_unavailable,
        on_retry=lambda error, failures: heard.append((error.message, failures)),
    )
    assert answer == 3
    assert heard == [("one", 1), ("two", 2)]


async def test_attempts_are_bounded_and_the_last_error_is_raised(autojump_clock: MockClock) -> None:
    flaky = Flaky(*(Unavailable(str(n)) for n in range(10)))
    with pytest.raises(Unavailable, match="2"):
        await retry(flaky, policy=RetryPolicy(attempts_max=3), rand=SeededRand(1), when=is_unavailable)
    assert flaky.calls == 3


async def test_elapsed_time_is_bounded(autojump_clock: MockClock) -> None:
    flaky = Flaky(*(Unavailable(str(n)) for n in range(10_000)))
    policy = RetryPolicy(attempts_max=10_000, elapsed_seconds_max=10.0)
    started = trio.current_time()
    with pytest.raises(Unavailable):
        await retry(flaky, policy=policy, rand=SeededRand(1), when=is_unavailable)
    assert 0 < trio.current_time() - started <= 10.0


@pytest.mark.parametrize("error", [NotFound("gone"), ValueError("a bug")])
async def test_other_errors_are_raised_at_once(error: Exception) -> None:
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        await retry(flaky, policy=RetryPolicy(), rand=SeededRand(1), when=is_unavailable)
    assert flaky.calls == 1


async def test_cancellation_ends_the_wait() -> None:
    flaky = Flaky(Unavailable("one"))
    policy = RetryPolicy(backoff=Backoff(first_seconds=1e6, max_seconds=1e6), elapsed_seconds_max=1e9)
    with trio.move_on_after(0.01) as scope:
        await retry(flaky, policy=policy, rand=SeededRand(1), when=is_unavailable)
    assert scope.cancelled_caught
    assert flaky.calls == 1
