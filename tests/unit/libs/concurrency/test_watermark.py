"""The watermark: wakes exactly those it has passed, and ends with an error for the rest."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from libs.concurrency.watermark import Watermark
from libs.model.errors import Fenced


async def test_it_wakes_those_it_has_passed() -> None:
    watermark, woken = Watermark(10), list[int]()

    async def wait(value: int) -> None:
        assert await watermark.wait_at_least(value) >= value
        woken.append(value)

    async with trio.open_nursery() as nursery:
        for value in (10, 11, 12, 12, 20):
            nursery.start_soon(wait, value)
        await wait_all_tasks_blocked()
        assert (woken, watermark.waiting) == ([10], 4)
        watermark.advance(15)
        await wait_all_tasks_blocked()
        assert (sorted(woken), watermark.waiting) == ([10, 11, 12, 12], 1)
        watermark.advance(3)  # never back
        assert watermark.value == 15
        watermark.advance(20)


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    watermark = Watermark()
    for _ in range(3):
        with trio.move_on_after(0):
            await watermark.wait_at_least(5)
    assert watermark.waiting == 0
    watermark.advance(5)
    assert await watermark.wait_at_least(5) == 5


async def test_closing_raises_in_those_who_still_wait() -> None:
    watermark, errors = Watermark(1), list[Fenced]()

    async def wait() -> None:
        with pytest.raises(Fenced) as caught:
            await watermark.wait_at_least(2)
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        watermark.close(lambda: Fenced("the session is over"))
    assert len(set(map(id, errors))) == 2
    watermark.advance(9)
    assert await watermark.wait_at_least(1) == 1
    with pytest.raises(Fenced):
        await watermark.wait_at_least(2)
