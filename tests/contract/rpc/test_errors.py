"""Every kind of error crosses both transports unchanged, and foreign ends become safe kinds."""

import logging
from typing import Any

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from libs.model.errors import (
    Corrupt,
    Fenced,
    Invalid,
    KafscaleError,
    Moved,
    NotFound,
    Overloaded,
    Reason,
    Unavailable,
)
from libs.rpc import RpcLimits
from tests.contract.rpc.echo import value
from tests.contract.rpc.harness import both_transports, connected

KINDS: list[KafscaleError] = [
    Invalid("a batch has a wrong CRC", reason=Reason.CORRUPT_MESSAGE),
    Invalid("too large", reason=Reason.MESSAGE_TOO_LARGE),
    NotFound("no topic 'ä ✓'", reason=Reason.UNKNOWN_TOPIC_ID),
    Moved("owner b has it\nsince 12:00 100%", reason=Reason.NOT_OWNER),
    Fenced("epoch 3 is over", reason=Reason.INVALID_PRODUCER_EPOCH),
    Overloaded("512 MiB wait", reason=Reason.THROTTLED),
    Unavailable("the store is away", reason=Reason.STORAGE_ERROR, outcome_unknown=False),
    Unavailable("the PUT is late", reason=Reason.TIMED_OUT, outcome_unknown=True),
    Corrupt("a footer's magic is wrong"),
]


@both_transports
@pytest.mark.parametrize("error", KINDS, ids=lambda error: f"{type(error).__name__}-{error.reason}")
async def test_a_kind_arrives_as_it_was_raised(transport: str, error: KafscaleError) -> None:
    async def handle(stream: Any) -> None:
        raise error

    async with connected(transport, handle) as pair:
        for call in (
            lambda: pair.stub.Unary(value(b"x")),
            lambda: pair.stub.Expand(value(b"x")),
            lambda: pair.stub.Collect([value(b"x")]),
            lambda: pair.stub.Chat([value(b"x")]),
        ):
            with pytest.raises(type(error)) as caught:
                await call()
            assert type(caught.value) is type(error)
            assert caught.value.message == error.message
            assert caught.value.reason is error.reason
            if isinstance(error, Unavailable):
                assert isinstance(caught.value, Unavailable)
                assert caught.value.outcome_unknown is error.outcome_unknown


@both_transports
async def test_an_error_after_replies_comes_after_them(transport: str) -> None:
    async def handle(stream: Any) -> None:
        await stream.send_message(value(b"1"))
        await stream.send_message(value(b"2"))
        raise Moved("gone")

    async with connected(transport, handle) as pair, pair.stub.Expand.open() as stream:
        await stream.send_message(value(b"x"))
        assert await stream.recv_message() == value(b"1")
        assert await stream.recv_message() == value(b"2")
        with pytest.raises(Moved):
            await stream.recv_message()


@both_transports
async def test_an_error_inside_a_handlers_nursery_is_still_its_kind(transport: str) -> None:
    async def fail() -> None:
        raise Fenced("inside")

    async def handle(stream: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    async with connected(transport, handle) as pair:
        with pytest.raises(Fenced, match="inside"):
            await pair.stub.Unary(value(b"x"))


@both_transports
async def test_a_bug_in_a_handler_ends_its_call_only(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(stream: Any) -> None:
        request = await stream.recv_message()
        if request.value == b"bug":
            raise ZeroDivisionError("secret detail")
        await stream.send_message(request)

    async with connected(transport, handle) as pair:
        async with pair.stub.Chat.open() as neighbour:
            await neighbour.send_request()
            with caplog.at_level(logging.ERROR), pytest.raises(Unavailable) as caught:
                await pair.stub.Unary(value(b"bug"))
            assert caught.value.outcome_unknown
            assert "secret" not in caught.value.message
            assert [record.getMessage() for record in caplog.records] == [
                "a handler of /kafscale.test.Echo/Unary failed"
            ]
            await neighbour.send_message(value(b"fine"))
            assert await neighbour.recv_message() == value(b"fine")
        assert await pair.stub.Unary(value(b"next")) == value(b"next")


@both_transports
async def test_a_handler_without_a_reply_is_a_bug(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(stream: Any) -> None:
        await stream.recv_message()

    async with connected(transport, handle) as pair:
        with caplog.at_level(logging.ERROR), pytest.raises(Unavailable):
            await pair.stub.Unary(value(b"x"))


FOREIGN: list[tuple[Status, type[KafscaleError], Reason | None, bool | None]] = [
    (Status.INVALID_ARGUMENT, Invalid, None, None),
    (Status.OUT_OF_RANGE, Invalid, None, None),
    (Status.PERMISSION_DENIED, Invalid, None, None),
    (Status.UNAUTHENTICATED, Invalid, None, None),
    (Status.UNIMPLEMENTED, Invalid, Reason.UNSUPPORTED_VERSION, None),
    (Status.NOT_FOUND, NotFound, None, None),
    (Status.FAILED_PRECONDITION, Moved, None, None),
    (Status.ABORTED, Fenced, None, None),
    (Status.RESOURCE_EXHAUSTED, Overloaded, None, None),
    (Status.DATA_LOSS, Corrupt, None, None),
    (Status.DEADLINE_EXCEEDED, Unavailable, Reason.TIMED_OUT, True),
    (Status.CANCELLED, Unavailable, Reason.TIMED_OUT, True),
    (Status.UNAVAILABLE, Unavailable, None, True),
    (Status.INTERNAL, Unavailable, None, True),
    (Status.UNKNOWN, Unavailable, None, True),
]


@both_transports
@pytest.mark.parametrize(("status", "kind", "reason", "unknown"), FOREIGN)
async def test_a_foreign_status_becomes_a_kind(
    transport: str, status: Status, kind: type[KafscaleError], reason: Reason | None, unknown: bool | None
) -> None:
    async def handle(stream: Any) -> None:
        raise GRPCError(status, "as it said")

    async with connected(transport, handle) as pair:
        with pytest.raises(kind, match="as it said") as caught:
            await pair.stub.Unary(value(b"x"))
        assert isinstance(caught.value.__cause__, GRPCError)
        assert caught.value.__cause__.status is status
        if reason is not None:
            assert caught.value.reason is reason
        if isinstance(caught.value, Unavailable):
            assert caught.value.outcome_unknown is unknown


@both_transports
async def test_an_unknown_method_is_told(transport: str) -> None:
    async with connected(transport) as pair:
        pair.stub.Unary.name = "/kafscale.test.Echo/Missing"
        with pytest.raises(Invalid, match="Missing") as caught:
            await pair.stub.Unary(value(b"x"))
        assert caught.value.reason is Reason.UNSUPPORTED_VERSION


@both_transports
async def test_an_early_error_reaches_a_sender(transport: str) -> None:
    async def handle(stream: Any) -> None:
        await stream.recv_message()
        raise Moved("early")

    async with connected(transport, handle) as pair, pair.stub.Chat.open() as stream:

        async def send_for_ever() -> None:
            while True:
                await stream.send_message(value(b"x" * 100_000))

        with pytest.raises(Moved, match="early"):
            await send_for_ever()
        with pytest.raises(Moved, match="early"):
            await stream.recv_message()


@both_transports
async def test_an_early_ok_lets_the_sender_finish(transport: str) -> None:
    async def handle(stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(value(b"enough"))

    async with connected(transport, handle) as pair:
        messages = [value(b"x" * 100_000)] * 100
        assert await pair.stub.Collect(messages) == value(b"enough")


@both_transports
async def test_messages_beyond_the_limits(transport: str) -> None:
    small = RpcLimits(receive_message_bytes_max=1000, send_message_bytes_max=1000)

    async def handle(stream: Any) -> None:
        request = await stream.recv_message()
        await stream.send_message(value(b"x" * int(request.value)))

    async with connected(transport, handle, limits=RpcLimits(), client_limits=small) as pair:
        with pytest.raises(Invalid) as caught:
            await pair.stub.Unary(value(b"1" * 2000))
        assert caught.value.reason is Reason.MESSAGE_TOO_LARGE
        assert pair.server.statistics().calls_in_flight == 0
        with pytest.raises(Invalid) as caught:
            await pair.stub.Unary(value(b"2000"))
        assert caught.value.reason is Reason.MESSAGE_TOO_LARGE
        assert len((await pair.stub.Unary(value(b"900"))).value) == 900
    async with connected(transport, handle, limits=small, client_limits=RpcLimits()) as pair:
        with pytest.raises(Invalid) as caught:
            await pair.stub.Unary(value(b"1" * 2000))
        assert caught.value.reason is Reason.MESSAGE_TOO_LARGE
        with pytest.raises(Invalid) as caught:
            await pair.stub.Unary(value(b"2000"))
        assert caught.value.reason is Reason.MESSAGE_TOO_LARGE
        assert len((await pair.stub.Unary(value(b"900"))).value) == 900


@both_transports
async def test_a_very_long_message_is_cut(transport: str) -> None:
    async def handle(stream: Any) -> None:
        raise Corrupt("ä" * 50_000)

    async with connected(transport, handle) as pair:
        with pytest.raises(Corrupt) as caught:
            await pair.stub.Unary(value(b"x"))
        assert set(caught.value.message) == {"ä"}
        assert len(caught.value.message) == 1500
