"""What a channel makes of servers that do odd things, frame by frame."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import h2.events
import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes

from libs.model.errors import Invalid, KafscaleError, NotFound, Overloaded, Reason, Unavailable
from libs.rpc import Channel, RpcLimits, Server, open_channel
from tests.contract.rpc.echo import Echo, EchoStub, value
from tests.contract.rpc.harness import serving
from tests.contract.rpc.raw_peer import RESPONSE, RawPeer, framed, raw_servers

Act = Callable[[RawPeer, int], Awaitable[None]]


@asynccontextmanager
async def _calling(act: Act, limits: RpcLimits | None = None) -> AsyncIterator[Channel]:
    """A channel to a raw server that does `act` to each request."""

    async def serve(peer: RawPeer) -> None:
        try:
            while True:
                event = await peer.wait_event(h2.events.RequestReceived)
                await act(peer, event.stream_id)
                await peer.flush()
        except (AssertionError, trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the client closed the connection

    async with trio.open_nursery() as nursery:
        async with raw_servers(limits or RpcLimits()) as (channel, peers):

            async def accept() -> None:
                async for peer in peers:
                    nursery.start_soon(serve, peer)

            nursery.start_soon(accept)
            yield channel
        nursery.cancel_scope.cancel()


async def _error_of(act: Act, limits: RpcLimits | None = None) -> KafscaleError:
    async with _calling(act, limits) as channel:
        with pytest.raises(KafscaleError) as caught, trio.fail_after(5):
            await EchoStub(channel).Unary(value(b"x"))
        assert channel.statistics().calls_in_flight == 0
        return caught.value


@pytest.mark.parametrize(
    ("code", "kind", "unknown"),
    [
        (ErrorCodes.REFUSED_STREAM, Unavailable, False),
        (ErrorCodes.CANCEL, Unavailable, True),
        (ErrorCodes.INTERNAL_ERROR, Unavailable, True),
        (ErrorCodes.NO_ERROR, Unavailable, True),
        (ErrorCodes.ENHANCE_YOUR_CALM, Overloaded, None),
    ],
)
async def test_a_reset_becomes_a_kind(
    code: ErrorCodes, kind: type[KafscaleError], unknown: bool | None
) -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        peer.h2.reset_stream(stream_id, code)

    error = await _error_of(act)
    assert type(error) is kind
    if isinstance(error, Unavailable):
        assert error.outcome_unknown is unknown


async def test_a_status_wins_over_the_reset_after_it() -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        head = [*RESPONSE, ("grpc-status", "5"), ("grpc-message", "not%20here")]
        peer.h2.send_headers(stream_id, head, end_stream=True)
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()

    error = await _error_of(act)
    assert isinstance(error, NotFound)
    assert error.message == "not here"


@pytest.mark.parametrize(
    ("status", "kind"),
    [("404", Invalid), ("401", Invalid), ("503", Unavailable), ("200", Unavailable), ("999", Unavailable)],
)
async def test_an_answer_that_is_not_grpc(status: str, kind: type[KafscaleError]) -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        peer.h2.send_headers(stream_id, [(":status", status), ("content-type", "text/html")])
        peer.h2.send_data(stream_id, b"<html>", end_stream=True)

    assert type(await _error_of(act)) is kind


@pytest.mark.parametrize(
    "trailers",
    [[("other", "x")], [("grpc-status", "x")], [("grpc-status", "99")], [("grpc-status", "-1")]],
)
async def test_trailers_that_say_nothing(trailers: list[tuple[str, str]]) -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        peer.h2.send_headers(stream_id, RESPONSE)
        peer.h2.send_data(stream_id, framed(b"reply"))
        peer.h2.send_headers(stream_id, trailers, end_stream=True)

    error = await _error_of(act)
    assert isinstance(error, Unavailable)
    assert error.outcome_unknown


async def test_a_stream_that_ends_without_trailers() -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        peer.h2.send_headers(stream_id, RESPONSE)
        peer.h2.send_data(stream_id, framed(b"reply"), end_stream=True)

    error = await _error_of(act)
    assert isinstance(error, Unavailable)
    assert error.outcome_unknown


async def test_an_ok_without_a_reply() -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        peer.h2.send_headers(stream_id, [*RESPONSE, ("grpc-status", "0")], end_stream=True)

    error = await _error_of(act)
    assert isinstance(error, Unavailable)
    assert error.outcome_unknown


@pytest.mark.parametrize("details", ["!!!", "", "AAAA", "CgA", "//////8"])
async def test_details_that_cant_be_read_are_ignored(details: str) -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        ending = [("grpc-status", "5"), ("grpc-status-details-bin", details)]
        peer.h2.send_headers(stream_id, [*RESPONSE, *ending], end_stream=True)

    assert isinstance(await _error_of(act), NotFound)


async def test_a_reply_beyond_the_limit() -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        peer.h2.send_headers(stream_id, RESPONSE)
        peer.h2.send_data(stream_id, framed(b"x" * 2000))

    error = await _error_of(act, RpcLimits(receive_message_bytes_max=1000))
    assert isinstance(error, Invalid)
    assert error.reason is Reason.MESSAGE_TOO_LARGE


async def test_a_reply_that_is_no_protobuf() -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        peer.h2.send_headers(stream_id, RESPONSE)
        peer.h2.send_data(stream_id, b"\x00\x00\x00\x00\x03\xff\xff\xff")

    error = await _error_of(act)
    assert isinstance(error, Unavailable)
    assert error.outcome_unknown


async def test_a_connection_lost_after_the_request() -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        await peer.stream.aclose()

    error = await _error_of(act)
    assert isinstance(error, Unavailable)
    assert error.outcome_unknown


async def test_a_server_that_breaks_http2() -> None:
    async def act(peer: RawPeer, stream_id: int) -> None:
        await peer.stream.send_all(b"\x00\x00\x01\x06\x00\x00\x00\x00\x00x")  # a PING of one byte

    error = await _error_of(act)
    assert isinstance(error, Unavailable)
    assert error.outcome_unknown


async def test_goaway_tells_which_calls_were_never_seen() -> None:
    answers: dict[bytes, Any] = {}

    async with raw_servers(RpcLimits()) as (channel, peers):
        stub = EchoStub(channel)

        async def call(name: bytes) -> None:
            try:
                answers[name] = await stub.Unary(value(name))
            except Unavailable as error:
                answers[name] = error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, b"seen")
            peer = await peers.receive()
            await peer.wait_event(h2.events.RequestReceived)
            nursery.start_soon(call, b"unseen")
            await peer.wait_event(h2.events.RequestReceived)
            goaway = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + (1).to_bytes(4, "big") + bytes(4)
            await peer.stream.send_all(goaway)
            await trio.testing.wait_all_tasks_blocked()
            assert not answers[b"unseen"].outcome_unknown
            assert b"seen" not in answers
            nursery.start_soon(call, b"new")
            second = await peers.receive()
            await second.wait_event(h2.events.RequestReceived)
            for connection in (peer, second):
                connection.h2.send_headers(1, RESPONSE)
                connection.h2.send_data(1, framed(b"ok"))
                connection.h2.send_headers(1, [("grpc-status", "0")], end_stream=True)
                await connection.flush()
        assert answers[b"seen"] == answers[b"new"] == value(b"ok")
        await peer.wait_closed()
        assert channel.statistics().connections_opened == 2


async def test_calls_wait_for_room_on_the_connection() -> None:
    running = [0, 0]

    async def handle(stream: Any) -> None:
        running[0] += 1
        running[1] = max(running)
        await stream.recv_message()
        await trio.sleep(0.001)
        await stream.send_message(value(b"done"))
        running[0] -= 1

    server = Server([Echo(handle)], limits=RpcLimits(calls_max=5))
    async with serving(server) as address, open_channel(address) as channel:
        stub = EchoStub(channel)

        async def call() -> None:
            assert await stub.Unary(value(b"x")) == value(b"done")

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(call)
        assert 1 <= running[1] <= 5
        assert channel.statistics().connections_opened == 1


async def test_refused_connections_fail_fast_with_backoff(autojump_clock: trio.testing.MockClock) -> None:
    attempts: list[float] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        attempts.append(trio.current_time())
        raise ConnectionRefusedError("nobody is there")

    async with open_channel("nowhere:1", connector=connect) as channel:
        stub = EchoStub(channel)
        for _ in range(200):
            with pytest.raises(Unavailable, match="nobody is there") as caught:
                await stub.Unary(value(b"x"))
            assert not caught.value.outcome_unknown
            await trio.sleep(0.1)
        assert 10 <= len(attempts) <= 60


async def test_many_callers_share_one_attempt_and_cancel_none() -> None:
    release = trio.Event()
    attempts = [0]

    async def connect(host: str, port: int) -> trio.abc.Stream:
        attempts[0] += 1
        await release.wait()
        return await trio.open_tcp_stream(host, port)

    async with serving(Server([Echo()])) as address, open_channel(address, connector=connect) as channel:
        stub = EchoStub(channel)
        with trio.move_on_after(0.01):
            await stub.Unary(value(b"gives up"))

        async def call() -> None:
            assert await stub.Unary(value(b"x")) == value(b"x")

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            release.set()
        assert attempts == [1]


async def test_a_server_that_never_answers_times_out(autojump_clock: trio.testing.MockClock) -> None:
    streams: list[trio.abc.Stream] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        streams.append(theirs)
        return ours

    async with open_channel("silent:1", connector=connect) as channel:
        with pytest.raises(Unavailable, match=r"within 5\.0 s") as caught:
            await EchoStub(channel).Unary(value(b"x"))
        assert not caught.value.outcome_unknown


async def test_a_server_that_falls_silent_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    limits = RpcLimits(keepalive_interval_seconds=10, keepalive_timeout_seconds=5)
    async with raw_servers(limits) as (channel, peers):
        started = trio.current_time()
        with pytest.raises(Unavailable, match="nothing was heard") as caught:
            await EchoStub(channel).Unary(value(b"x"))
        assert caught.value.outcome_unknown
        assert trio.current_time() - started < 30
        assert peers.statistics().current_buffer_used == 1


async def test_a_channel_reconnects_when_the_server_comes_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = Server([Echo()])
    there = False
    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            if not there:
                raise ConnectionRefusedError("nobody is there")
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.serve_connection, theirs)
            return ours

        limits = RpcLimits(backoff_first_seconds=0.1, backoff_max_seconds=0.5)
        async with open_channel("server:1", limits=limits, connector=connect) as channel:
            stub = EchoStub(channel)
            with pytest.raises(Unavailable) as caught:
                await stub.Unary(value(b"x"))
            assert not caught.value.outcome_unknown
            there = True
            await trio.sleep(limits.backoff_max_seconds)
            assert await stub.Unary(value(b"x")) == value(b"x")


async def test_a_drain_is_invisible_to_a_channel_with_another_server() -> None:
    """Calls in flight finish, later calls find the next server: no call fails."""
    entered, release = trio.Event(), trio.Event()

    async def handle(stream: Any) -> None:
        request = await stream.recv_message()
        if request.value == b"slow":
            entered.set()
            await release.wait()
        await stream.send_message(request)

    servers = [Server([Echo(handle)]), Server([Echo(handle)])]
    current = [0]
    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(servers[current[0]].serve_connection, theirs)
            return ours

        async with open_channel("any:1", connector=connect) as channel:
            stub = EchoStub(channel)
            replies: list[Any] = []

            async def slow() -> None:
                replies.append(await stub.Unary(value(b"slow")))

            async with trio.open_nursery() as callers:
                callers.start_soon(slow)
                await entered.wait()
                current[0] = 1
                callers.start_soon(servers[0].drain, trio.current_time() + 30)
                await trio.testing.wait_all_tasks_blocked()
                for _ in range(10):
                    assert await stub.Unary(value(b"fast")) == value(b"fast")
                assert replies == []
                release.set()
            assert replies == [value(b"slow")]
            assert servers[1].statistics().calls_started == {"/kafscale.test.Echo/Unary": 10}
        nursery.cancel_scope.cancel()
