"""The inbox: order, both bounds, and cancellation of those who wait."""

from collections import deque

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from libs.concurrency.inbox import Inbox
from libs.model.errors import Invalid, Overloaded, Reason


async def test_items_come_out_in_order_in_bounded_batches() -> None:
    inbox = Inbox[str](bytes_max=100, count_max=10)
    for item, size_bytes in [("a", 30), ("b", 30), ("c", 40)]:
        await inbox.put(item, size_bytes)
    assert inbox.get_batch_nowait(bytes_max=60) == ["a", "b"]
    assert inbox.get_batch_nowait(bytes_max=1) == ["c"]  # at least one
    assert inbox.get_batch_nowait() == []
    assert inbox.statistics().buffered_bytes == 0


async def test_bytes_are_bounded_and_putters_wait_in_line() -> None:
    inbox = Inbox[int](bytes_max=10, count_max=100)
    async with trio.open_nursery() as nursery:
        await inbox.put(0, 8)
        for item, size_bytes in [(1, 9), (2, 1)]:
            nursery.start_soon(inbox.put, item, size_bytes)
            await wait_all_tasks_blocked()
        assert inbox.statistics().waiting == 2
        with pytest.raises(Overloaded):
            inbox.put_nowait(3, 1)  # it would fit, but may not pass those who wait
        assert inbox.get_batch_nowait() == [0]
        assert inbox.get_batch_nowait() == [1, 2]


async def test_count_is_bounded() -> None:
    inbox = Inbox[int](bytes_max=100, count_max=2)
    inbox.put_nowait(0, 0)
    inbox.put_nowait(1, 0)
    with pytest.raises(Overloaded):
        inbox.put_nowait(2, 0)
    assert inbox.get_batch_nowait(count_max=1) == [0]
    inbox.put_nowait(2, 0)
    assert inbox.get_batch_nowait() == [1, 2]


async def test_an_item_that_never_fits_is_refused() -> None:
    inbox = Inbox[int](bytes_max=10, count_max=2)
    with pytest.raises(Invalid) as caught:
        await inbox.put(0, 11)
    assert caught.value.reason is Reason.MESSAGE_TOO_LARGE
    with pytest.raises(Invalid):
        inbox.put_nowait(0, 11)


async def test_a_cancelled_putter_adds_nothing_and_lets_the_next_pass() -> None:
    inbox = Inbox[str](bytes_max=10, count_max=10)
    await inbox.put("first", 5)
    scope = trio.CancelScope()

    async def impatient() -> None:
        with scope:
            await inbox.put("large", 10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await wait_all_tasks_blocked()
        nursery.start_soon(inbox.put, "small", 5)
        await wait_all_tasks_blocked()
        assert inbox.statistics().count == 1
        scope.cancel()
        await wait_all_tasks_blocked()
        assert inbox.get_batch_nowait() == ["first", "small"]


async def test_put_honours_a_cancellation_that_is_there_already() -> None:
    inbox = Inbox[str](bytes_max=10, count_max=10)
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.put("a", 1)
    assert inbox.get_batch_nowait() == []


async def test_wait_nonempty() -> None:
    inbox = Inbox[str](bytes_max=10, count_max=10)
    async with trio.open_nursery() as nursery:
        woken: list[str] = []

        async def taker() -> None:
            await inbox.wait_nonempty()
            woken.extend(inbox.get_batch_nowait())

        nursery.start_soon(taker)
        await wait_all_tasks_blocked()
        assert woken == []
        inbox.put_nowait("a", 1)
    assert woken == ["a"]
    with trio.move_on_after(0) as scope:
        await inbox.wait_nonempty()
    assert scope.cancelled_caught


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 12)), st.tuples(st.just("get"), st.integers(0, 12))
        )
    )
)
def test_it_behaves_like_a_bounded_deque(steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        inbox = Inbox[int](bytes_max=12, count_max=4)
        model: deque[tuple[int, int]] = deque()
        for number, (step, size) in enumerate(steps):
            if step == "put":
                fits = len(model) < 4 and sum(s for _, s in model) + size <= 12
                try:
                    inbox.put_nowait(number, size)
                except Overloaded:
                    assert not fits
                else:
                    assert fits
                    model.append((number, size))
            else:
                expected: list[int] = []
                used = 0
                while model and (not expected or used + model[0][1] <= size):
                    item, item_size = model.popleft()
                    expected.append(item)
                    used += item_size
                assert inbox.get_batch_nowait(bytes_max=size) == expected
            assert inbox.statistics().buffered_bytes == sum(s for _, s in model)

    trio.run(main)
