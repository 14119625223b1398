"""Wall clocks: the system's, one that is set by hand, one that follows Trio's."""

import time

import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock, ManualClock, SystemClock


def test_system_clock_is_the_wall_clock() -> None:
    before = time.time_ns() // 1_000_000
    assert before <= SystemClock().now_ms() <= time.time_ns() // 1_000_000


def test_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(1_000)
    assert clock.now_ms() == 1_000
    clock.advance_ms(5)
    assert clock.now_ms() == 1_005
    clock.set_ms(3)
    assert clock.now_ms() == 3


def test_loop_clock_follows_a_mock_clock() -> None:
    async def main() -> tuple[int, int, int]:
        clock = LoopClock(50_000)
        first = clock.now_ms()
        await trio.sleep(3600)
        second = clock.now_ms()
        clock.skew_ms = -7
        return first, second, clock.now_ms()

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == (50_000, 3_650_000, 3_649_993)
