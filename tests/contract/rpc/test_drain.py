"""A drain lets calls finish, refuses new ones, and has a deadline."""

from typing import Any

import pytest
import trio
import trio.testing

from libs.model.errors import Unavailable
from libs.rpc import Server
from tests.contract.rpc.echo import value
from tests.contract.rpc.harness import both_transports, connected


@both_transports
async def test_calls_that_run_finish_and_new_ones_are_refused(transport: str) -> None:
    entered, release = trio.Event(), trio.Event()

    async def handle(stream: Any) -> None:
        request = await stream.recv_message()
        entered.set()
        await release.wait()
        await stream.send_message(request)

    async with connected(transport, handle) as pair:
        replies: list[Any] = []

        async def slow() -> None:
            replies.append(await pair.stub.Unary(value(b"slow")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow)
            await entered.wait()
            nursery.start_soon(pair.server.drain, trio.current_time() + 30)
            await trio.testing.wait_all_tasks_blocked(0.02)
            with pytest.raises(Unavailable) as caught:
                await pair.stub.Unary(value(b"new"))
            assert not caught.value.outcome_unknown
            assert replies == []
            release.set()
        assert replies == [value(b"slow")]
        assert pair.server.statistics().connections == 0


@both_transports
async def test_calls_that_do_not_finish_are_told(transport: str) -> None:
    entered, cancelled = trio.Event(), trio.Event()

    async def handle(stream: Any) -> None:
        entered.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with connected(transport, handle) as pair, pair.stub.Chat.open() as stream:
        await stream.send_message(value(b"x"))
        await entered.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.server.drain, trio.current_time() + 0.05)
            with pytest.raises(Unavailable, match="shutting down") as caught:
                await stream.recv_message()
        assert caught.value.outcome_unknown
        assert cancelled.is_set()
        assert pair.server.statistics().calls_in_flight == 0


@both_transports
async def test_a_long_stream_may_end_itself(transport: str) -> None:
    servers: list[Server] = []

    async def handle(stream: Any) -> None:
        await stream.send_message(value(b"first"))
        await servers[0].wait_draining()
        await stream.send_message(value(b"last"))

    async with connected(transport, handle) as pair, pair.stub.Expand.open() as stream:
        servers.append(pair.server)
        await stream.send_message(value(b"x"))
        assert await stream.recv_message() == value(b"first")
        with trio.fail_after(10):
            await pair.server.drain(trio.current_time() + 30)
            assert [reply.value async for reply in stream] == [b"last"]
