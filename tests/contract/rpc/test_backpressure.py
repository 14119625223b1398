"""A slow reader stops the sender, and nobody else."""

from typing import Any

import trio
import trio.testing

from libs.model.limits import KIB
from libs.rpc import RpcLimits
from tests.contract.rpc.echo import value
from tests.contract.rpc.harness import both_transports, connected

MESSAGE_BYTES = 16 * KIB
LIMITS = RpcLimits(
    stream_window_bytes=64 * KIB,
    connection_window_bytes=128 * KIB,
    connection_buffer_bytes=1024 * KIB,
    send_buffer_bytes=32 * KIB,
)


async def _wait_until_stuck(progress: list[int]) -> None:
    """Returns when nothing more is sent although everybody may run."""
    before = -1
    while progress[0] != before:
        before = progress[0]
        await trio.testing.wait_all_tasks_blocked(0.05)


@both_transports
async def test_a_server_that_does_not_read_stops_the_client(transport: str) -> None:
    read = trio.Event()

    async def handle(stream: Any) -> None:
        await read.wait()
        count = len([request async for request in stream])
        await stream.send_message(value(str(count).encode()))

    async with connected(transport, handle, limits=LIMITS) as pair, pair.stub.Collect.open() as stream:
        sent = [0]

        async def send() -> None:
            for _ in range(200):
                await stream.send_message(value(b"x" * MESSAGE_BYTES))
                sent[0] += 1
            await stream.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await _wait_until_stuck(sent)
            assert 1 <= sent[0] <= 8  # window + send buffer + one
            read.set()
        assert await stream.recv_message() == value(b"200")


@both_transports
async def test_a_client_that_does_not_read_stops_the_server(transport: str) -> None:
    sent = [0]

    async def handle(stream: Any) -> None:
        await stream.recv_message()
        for _ in range(200):
            await stream.send_message(value(b"x" * MESSAGE_BYTES))
            sent[0] += 1

    async with connected(transport, handle, limits=LIMITS) as pair, pair.stub.Expand.open() as stream:
        await stream.send_message(value(b"x"))
        await stream.recv_message()
        await _wait_until_stuck(sent)
        assert 1 <= sent[0] <= 9
        assert len([reply async for reply in stream]) == 199
        assert sent[0] == 200


@both_transports
async def test_a_slow_call_does_not_stop_its_neighbours(transport: str) -> None:
    async def handle(stream: Any) -> None:
        request = await stream.recv_message()
        if request.value == b"slow":
            await trio.sleep_forever()
        await stream.send_message(request)

    async with connected(transport, handle, limits=LIMITS) as pair:

        async def stuck() -> None:
            async with pair.stub.Chat.open() as stream:
                await stream.send_message(value(b"slow"))
                while True:
                    await stream.send_message(value(b"x" * MESSAGE_BYTES))

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(stuck)
            await trio.testing.wait_all_tasks_blocked(0.05)
            for _ in range(20):
                body = value(b"y" * (200 * KIB))
                with trio.fail_after(10):
                    assert await pair.stub.Unary(body) == body
            nursery.cancel_scope.cancel()


@both_transports
async def test_a_message_larger_than_the_window_arrives(transport: str) -> None:
    async with connected(transport, limits=LIMITS) as pair:
        body = value(bytes(range(256)) * 16 * KIB)
        with trio.fail_after(20):
            assert await pair.stub.Unary(body) == body
            assert await pair.stub.Chat([body, value(b"x"), body]) == [body, value(b"x"), body]


@both_transports
async def test_windows_do_not_leak(transport: str) -> None:
    """Calls abandoned in the middle give back what they held."""

    async def handle(stream: Any) -> None:
        await stream.recv_message()
        while True:
            await stream.send_message(value(b"x" * MESSAGE_BYTES))

    async with connected(transport, handle, limits=LIMITS) as pair:
        with trio.fail_after(30):
            for _ in range(100):
                async with pair.stub.Expand.open() as stream:
                    await stream.send_message(value(b"x"))
                    await stream.recv_message()
