"""Deadlines travel, and cancellation goes both ways."""

from typing import Any

import pytest
import trio

from libs.model.errors import Reason, Unavailable
from tests.contract.rpc.echo import value
from tests.contract.rpc.harness import both_transports, connected


@both_transports
async def test_a_deadline_ends_the_call_on_both_sides(transport: str) -> None:
    cancelled = trio.Event()

    async def handle(stream: Any) -> None:
        assert 0 < stream.deadline.time_remaining() <= 1
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with connected(transport, handle) as pair:
        with pytest.raises(Unavailable) as caught:
            await pair.stub.Unary(value(b"x"), timeout=1)
        assert caught.value.reason is Reason.TIMED_OUT
        assert caught.value.outcome_unknown
        with trio.fail_after(5):
            await cancelled.wait()


@both_transports
async def test_a_deadline_ends_waiting_to_send(transport: str) -> None:
    async def handle(stream: Any) -> None:
        await trio.sleep_forever()

    async with connected(transport, handle) as pair:
        messages = [value(b"x" * 1_000_000)] * 100
        with pytest.raises(Unavailable) as caught:
            await pair.stub.Chat(messages, timeout=0.2)
        assert caught.value.reason is Reason.TIMED_OUT


@both_transports
async def test_without_a_deadline_there_is_none(transport: str) -> None:
    seen: list[Any] = []

    async def handle(stream: Any) -> None:
        seen.append(stream.deadline)
        await stream.send_message(await stream.recv_message())

    async with connected(transport, handle) as pair:
        await pair.stub.Unary(value(b"x"))
        assert seen == [None]


@both_transports
async def test_the_callers_cancel_scope_travels(transport: str) -> None:
    seen: list[tuple[float, float]] = []

    async def handle(stream: Any) -> None:
        remaining = stream.deadline.time_remaining()
        seen.append((remaining, trio.current_time() + remaining))
        await trio.sleep_forever()

    async with connected(transport, handle) as pair:
        with trio.move_on_after(1) as scope:
            await pair.stub.Unary(value(b"x"))
        assert scope.cancelled_caught
        ((remaining, ends_at),) = seen
        assert remaining < 1.3
        assert ends_at > scope.deadline, "the server gives up only after the caller did"


@both_transports
async def test_a_server_passes_its_deadline_on(transport: str) -> None:
    remaining: list[float] = []

    async def last(stream: Any) -> None:
        remaining.append(stream.deadline.time_remaining())
        await stream.send_message(await stream.recv_message())

    async with connected(transport, last) as inner:

        async def middle(stream: Any) -> None:
            await stream.send_message(await inner.stub.Unary(await stream.recv_message()))

        async with connected(transport, middle) as outer:
            assert await outer.stub.Unary(value(b"x"), timeout=30) == value(b"x")
    assert len(remaining) == 1
    assert 20 < remaining[0] <= 30.25


@both_transports
@pytest.mark.parametrize("way", ["scope", "cancel", "leave", "raise"])
async def test_a_cancelled_call_cancels_its_handler(transport: str, way: str) -> None:
    cancelled = trio.Event()

    async def handle(stream: Any) -> None:
        try:
            await stream.send_message(value(b"started"))
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.set()
            raise

    async with connected(transport, handle) as pair:
        with trio.CancelScope() as scope:
            try:
                async with pair.stub.Chat.open() as stream:
                    await stream.send_message(value(b"x"))
                    assert await stream.recv_message() == value(b"started")
                    if way == "scope":
                        scope.cancel()
                        await stream.recv_message()
                    elif way == "cancel":
                        await stream.cancel()
                        with pytest.raises(Unavailable):
                            await stream.recv_message()
                        raise LookupError
                    elif way == "raise":
                        raise LookupError
            except LookupError:
                assert way in ("raise", "cancel")
        assert scope.cancelled_caught == (way == "scope")
        with trio.fail_after(5):
            await cancelled.wait()
        # The connection lives on.
        assert pair.channel.statistics().calls_in_flight == 0
        async with pair.stub.Chat.open() as stream:
            await stream.send_message(value(b"x"))
            assert await stream.recv_message() == value(b"started")


@both_transports
async def test_a_handler_that_resets_its_call(transport: str) -> None:
    async def handle(stream: Any) -> None:
        await stream.recv_message()
        await stream.cancel()

    async with connected(transport, handle) as pair:
        with pytest.raises(Unavailable) as caught:
            await pair.stub.Unary(value(b"x"))
        assert caught.value.outcome_unknown


@both_transports
async def test_a_cancelled_receive_loses_no_message(transport: str) -> None:
    go_on = trio.Event()

    async def handle(stream: Any) -> None:
        await stream.send_message(value(b"0"))
        await go_on.wait()
        for number in range(1, 10):
            await stream.send_message(value(str(number).encode()))

    async with connected(transport, handle) as pair, pair.stub.Expand.open() as stream:
        await stream.send_message(value(b"x"))
        assert await stream.recv_message() == value(b"0")
        with trio.move_on_after(0.01):
            await stream.recv_message()
        go_on.set()
        assert [int(reply.value) async for reply in stream] == list(range(1, 10))
