"""The four call kinds behave the same over memory and over sockets."""

from typing import Any

import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue
from grpclib.exceptions import ProtocolError

from libs.model.errors import Unavailable
from tests.contract.rpc.echo import value
from tests.contract.rpc.harness import both_transports, connected

MIB = 1024 * 1024


@both_transports
async def test_each_call_kind(transport: str) -> None:
    async with connected(transport) as pair:
        assert await pair.stub.Unary(value(b"one")) == value(b"one")
        assert await pair.stub.Expand(value(b"abc")) == [value(b"a"), value(b"b"), value(b"c")]
        assert await pair.stub.Collect([value(b"ab"), value(b"cd")]) == value(b"abcd")
        assert await pair.stub.Chat([value(b"x"), value(b"y")]) == [value(b"x"), value(b"y")]


@both_transports
async def test_empty_streams_and_empty_messages(transport: str) -> None:
    async with connected(transport) as pair:
        assert await pair.stub.Unary(value()) == value()
        assert await pair.stub.Expand(value()) == []
        assert await pair.stub.Collect([]) == value()
        assert await pair.stub.Chat([]) == []
        assert await pair.stub.Chat([value()] * 100) == [value()] * 100


@both_transports
@pytest.mark.parametrize("size", [1, 4095, 4096, 65_536, MIB - 1, 9 * MIB])
async def test_messages_of_any_size(transport: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    async with connected(transport) as pair:
        assert await pair.stub.Unary(value(body[:size])) == value(body[:size])
        replies = await pair.stub.Chat([value(body[:size]), value(b"small"), value(body[: size // 2])])
        assert [len(reply.value) for reply in replies] == [size, 5, size // 2]


@both_transports
async def test_one_task_sends_while_another_receives(transport: str) -> None:
    count = 2000
    async with connected(transport) as pair, pair.stub.Chat.open() as stream:

        async def send() -> None:
            for number in range(count):
                await stream.send_message(value(str(number).encode()))
            await stream.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            replies = [int(reply.value) async for reply in stream]
        assert replies == list(range(count))


@both_transports
async def test_a_handler_sends_while_it_receives(transport: str) -> None:
    async def handle(stream: Any) -> None:
        received: list[bytes] = []

        async def receive() -> None:
            received.extend([request.value async for request in stream])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for number in range(100):
                await stream.send_message(value(str(number).encode()))
        await stream.send_message(value(b"".join(received)))

    async with connected(transport, handle) as pair:
        replies = await pair.stub.Chat([value(b"a"), value(b"b")])
        assert len(replies) == 101
        assert replies[-1] == value(b"ab")


@both_transports
async def test_many_calls_at_once_do_not_mix(transport: str) -> None:
    async with connected(transport) as pair:
        replies: dict[int, bytes] = {}

        async def call(number: int) -> None:
            body = str(number).encode() * (1 + number * 40)
            replies[number] = (await pair.stub.Unary(value(body))).value[: len(str(number))]

        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(call, number)
        assert replies == {number: str(number).encode() for number in range(300)}


@both_transports
async def test_metadata_travels_both_ways(transport: str) -> None:
    seen: list[Any] = []

    async def handle(stream: Any) -> None:
        seen.append((stream.metadata["name"], stream.metadata["key-bin"], stream.user_agent))
        await stream.recv_message()
        await stream.send_initial_metadata(metadata={"head": "h", "head-bin": b"\x00\x01"})
        await stream.send_message(value(b"reply"))
        await stream.send_trailing_metadata(metadata={"tail": "t"})

    sent: dict[str, str | bytes] = {"name": "n", "key-bin": b"\xff\x00\xfe\x01"}
    async with connected(transport, handle) as pair:
        async with pair.stub.Unary.open(metadata=sent) as stream:
            await stream.send_message(value(b"request"))
            await stream.recv_initial_metadata()
            assert stream.initial_metadata is not None
            assert stream.initial_metadata["head"] == "h"
            assert stream.initial_metadata["head-bin"] == b"\x00\x01"
            assert await stream.recv_message() == value(b"reply")
            await stream.recv_trailing_metadata()
            assert stream.trailing_metadata is not None
            assert stream.trailing_metadata["tail"] == "t"
        assert seen == [("n", b"\xff\x00\xfe\x01", "grpc-python-kafscale")]


@both_transports
async def test_statistics_count_calls_by_method(transport: str) -> None:
    async with connected(transport) as pair:
        for _ in range(3):
            await pair.stub.Unary(value(b"x"))
        await pair.stub.Chat([value(b"x")])
        counts = {"/kafscale.test.Echo/Unary": 3, "/kafscale.test.Echo/Chat": 1}
        assert pair.channel.statistics().calls_started == counts
        assert pair.server.statistics().calls_started == counts
        assert pair.channel.statistics().calls_in_flight == 0
        assert pair.channel.statistics().sent_bytes > 0
        async with pair.stub.Chat.open() as stream:
            await stream.send_message(value(b"x"))
            await stream.recv_message()
            assert pair.channel.statistics().calls_in_flight == 1
            assert pair.server.statistics().calls_in_flight == 1


@both_transports
async def test_misuse_is_told(transport: str) -> None:
    async with connected(transport) as pair:
        async with pair.stub.Unary.open() as unary:
            with pytest.raises(ProtocolError):
                await unary.recv_message()
            await unary.send_message(value(b"x"))
            with pytest.raises(ProtocolError):
                await unary.send_message(value(b"again"))
        async with pair.stub.Chat.open() as chat:
            with pytest.raises(TypeError):
                await chat.send_message("no message")  # type: ignore[arg-type]
            await chat.end()


@both_transports
async def test_a_closed_channel_refuses_calls(transport: str) -> None:
    async with connected(transport) as pair:
        await pair.stub.Unary(value(b"x"))
        pair.channel.close()
        with pytest.raises(Unavailable) as caught:
            await pair.stub.Unary(value(b"x"))
        assert not caught.value.outcome_unknown


@both_transports
async def test_closing_a_channel_ends_calls_in_flight(transport: str) -> None:
    async with connected(transport) as pair:
        async with pair.stub.Chat.open() as stream:
            await stream.send_message(value(b"x"))
            assert await stream.recv_message() == value(b"x")
            pair.channel.close()
            with pytest.raises(Unavailable) as caught:
                await stream.recv_message()
        assert caught.value.outcome_unknown


@both_transports
async def test_replies_sent_before_the_end_are_received(transport: str) -> None:
    async def handle(stream: Any) -> None:
        for number in range(50):
            await stream.send_message(BytesValue(value=bytes([number])))

    async with connected(transport, handle) as pair, pair.stub.Chat.open() as stream:
        await stream.send_request()
        assert len([reply async for reply in stream]) == 50
        await stream.send_message(value(b"nobody wants it"))
