"""Interoperation with grpcio, gRPC's reference for Python, in both directions, plain and over TLS."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import pytest
import trio
import trio.testing
from google.protobuf.wrappers_pb2 import BytesValue
from grpclib.health.v1 import health_pb2

from libs.model.errors import Fenced, Invalid, KafscaleError, Moved, NotFound, Overloaded, Reason, Unavailable
from libs.rpc import Health, RpcLimits, Server, open_channel, with_reflection
from tests.contract.rpc.certificates import Certificates
from tests.contract.rpc.echo import Echo, EchoStub, value
from tests.contract.rpc.harness import serving

MIB = 1024 * 1024
SERVICE = "kafscale.test.Echo"
OPTIONS = [("grpc.max_receive_message_length", 64 * MIB), ("grpc.max_send_message_length", 64 * MIB)]

security = pytest.mark.parametrize("security", ["plain", "tls", "mtls"])


class _Methods:
    """grpcio's callables for the Echo service."""

    def __init__(self, channel: grpc.Channel) -> None:
        codec: dict[str, Any] = {
            "request_serializer": BytesValue.SerializeToString,
            "response_deserializer": BytesValue.FromString,
        }
        self.unary = channel.unary_unary(f"/{SERVICE}/Unary", **codec)
        self.expand = channel.unary_stream(f"/{SERVICE}/Expand", **codec)
        self.collect = channel.stream_unary(f"/{SERVICE}/Collect", **codec)
        self.chat = channel.stream_stream(f"/{SERVICE}/Chat", **codec)


@contextmanager
def _grpcio_channel(address: str, certificates: Certificates, security: str) -> Iterator[grpc.Channel]:
    if security == "plain":
        channel = grpc.insecure_channel(address, options=OPTIONS)
    else:
        mutual = security == "mtls"
        credentials = grpc.ssl_channel_credentials(
            certificates.ca_file.read_bytes(),
            certificates.client_key.read_bytes() if mutual else None,
            certificates.client_cert.read_bytes() if mutual else None,
        )
        channel = grpc.secure_channel(address, credentials, options=OPTIONS)
    with channel:
        yield channel


async def _with_grpcio_client(
    server: Server,
    certificates: Certificates,
    security: str,
    use: Callable[[grpc.Channel], None],
) -> None:
    tls = None if security == "plain" else certificates.server(mutual=security == "mtls")

    async with serving(server, tls=tls) as address:

        def run() -> None:
            with _grpcio_channel(address, certificates, security) as channel:
                use(channel)

        with trio.fail_after(60):
            await trio.to_thread.run_sync(run)


@security
async def test_grpcio_calls_us(certificates: Certificates, security: str) -> None:
    def use(channel: grpc.Channel) -> None:
        methods = _Methods(channel)
        big = value(bytes(range(256)) * 4096 * 5)
        assert methods.unary(value(b"x"), timeout=10) == value(b"x")
        assert methods.unary(big, timeout=30) == big
        assert [reply.value for reply in methods.expand(value(b"abc"))] == [b"a", b"b", b"c"]
        assert methods.collect(iter([value(b"ab"), value(b"cd")])) == value(b"abcd")
        bodies = [value(str(number).encode() * 1000) for number in range(300)]
        assert list(methods.chat(iter(bodies))) == bodies
        assert list(methods.chat(iter([big, big]))) == [big, big]

    await _with_grpcio_client(Server([Echo()]), certificates, security, use)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid("i"), grpc.StatusCode.INVALID_ARGUMENT),
        (Invalid("i", reason=Reason.MESSAGE_TOO_LARGE), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (NotFound("n"), grpc.StatusCode.NOT_FOUND),
        (Moved("m"), grpc.StatusCode.FAILED_PRECONDITION),
        (Fenced("f"), grpc.StatusCode.ABORTED),
        (Overloaded("o"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Unavailable("ü 100%"), grpc.StatusCode.UNAVAILABLE),
        (ZeroDivisionError("z"), grpc.StatusCode.UNKNOWN),
    ],
)
async def test_grpcio_understands_our_errors(
    certificates: Certificates, error: Exception, code: grpc.StatusCode
) -> None:
    async def handle(stream: Any) -> None:
        raise error

    def use(channel: grpc.Channel) -> None:
        methods = _Methods(channel)
        with pytest.raises(grpc.RpcError) as caught:
            methods.unary(value(b"x"), timeout=10)
        assert caught.value.code() is code
        if isinstance(error, KafscaleError):
            assert caught.value.details() == error.message
        # An early error while the client still sends.
        with pytest.raises(grpc.RpcError) as caught:
            methods.collect(iter([value(b"x" * 100_000)] * 100), timeout=10)
        assert caught.value.code() is code

    await _with_grpcio_client(Server([Echo(handle)]), certificates, "plain", use)


async def test_grpcio_deadlines_and_cancellation_reach_our_handlers(certificates: Certificates) -> None:
    ended = {b"late": trio.Event(), b"cancelled": trio.Event()}

    async def handle(stream: Any) -> None:
        request = await stream.recv_message()
        try:
            await stream.send_message(request)
            await trio.sleep_forever()
        finally:
            ended[request.value].set()

    def use(channel: grpc.Channel) -> None:
        methods = _Methods(channel)
        with pytest.raises(grpc.RpcError) as caught:
            methods.unary(value(b"late"), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        replies = methods.expand(value(b"cancelled"))
        assert next(replies) == value(b"cancelled")
        replies.cancel()

    server = Server([Echo(handle)])
    await _with_grpcio_client(server, certificates, "plain", use)
    with trio.fail_after(10):
        await ended[b"late"].wait()
        await ended[b"cancelled"].wait()


async def test_grpcio_compresses_and_we_read_it(certificates: Certificates) -> None:
    def use(channel: grpc.Channel) -> None:
        methods = _Methods(channel)
        body = value(b"compress me " * 10_000)
        assert methods.unary(body, timeout=10, compression=grpc.Compression.Gzip) == body
        with pytest.raises(grpc.RpcError) as caught:
            methods.unary(body, timeout=10, compression=grpc.Compression.Deflate)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    await _with_grpcio_client(Server([Echo()]), certificates, "plain", use)


async def test_grpcio_beyond_our_limits(certificates: Certificates) -> None:
    def use(channel: grpc.Channel) -> None:
        methods = _Methods(channel)
        with pytest.raises(grpc.RpcError) as caught:
            methods.unary(value(b"x" * 2000), timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert methods.unary(value(b"x"), timeout=10) == value(b"x")

    server = Server([Echo()], limits=RpcLimits(receive_message_bytes_max=1000))
    await _with_grpcio_client(server, certificates, "plain", use)


async def test_a_slow_grpcio_reader_slows_our_handler(certificates: Certificates) -> None:
    sent = [0]

    async def handle(stream: Any) -> None:
        await stream.recv_message()
        for _ in range(400):
            await stream.send_message(value(b"x" * 100_000))
            sent[0] += 1

    paused, go_on = threading.Event(), threading.Event()

    def use(channel: grpc.Channel) -> None:
        replies = _Methods(channel).expand(value(b"x"))
        next(replies)
        paused.set()
        assert go_on.wait(30)
        assert sum(1 for _ in replies) == 399

    async with trio.open_nursery() as nursery:
        server = Server([Echo(handle)])
        nursery.start_soon(_with_grpcio_client, server, certificates, "plain", use)
        await trio.to_thread.run_sync(paused.wait, 30)
        before = -1
        while sent[0] != before:
            before = sent[0]
            await trio.testing.wait_all_tasks_blocked(0.1)
        assert sent[0] < 300
        go_on.set()


async def test_grpcio_asks_our_health_service(certificates: Certificates) -> None:
    health = Health()
    health.set_serving(True)
    health.set_serving(False, "kafscale.test.Echo")

    def use(channel: grpc.Channel) -> None:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        states = [
            check(health_pb2.HealthCheckRequest(service=name), timeout=10).status for name in ("", SERVICE)
        ]
        assert states == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
        with pytest.raises(grpc.RpcError) as caught:
            check(health_pb2.HealthCheckRequest(service="no.such"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    await _with_grpcio_client(Server(with_reflection([Echo(), health])), certificates, "plain", use)


async def test_a_drain_is_clean_for_grpcio(certificates: Certificates) -> None:
    entered = threading.Event()
    server_holder: list[Server] = []

    async def handle(stream: Any) -> None:
        request = await stream.recv_message()
        if request.value == b"slow":
            entered.set()
            await server_holder[0].wait_draining()
            await trio.sleep(0.1)
        await stream.send_message(request)

    server = Server([Echo(handle)])
    server_holder.append(server)
    async with serving(server) as address:
        replies: list[Any] = []

        def use() -> None:
            with grpc.insecure_channel(address) as channel:
                replies.append(_Methods(channel).unary(value(b"slow"), timeout=20))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, use)
            await trio.to_thread.run_sync(entered.wait)
            with trio.fail_after(10):
                await server.drain(trio.current_time() + 5)
        assert replies == [value(b"slow")]


# The other way: our channel, grpcio's server.


class _GrpcioEcho(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.remaining: list[float] = []

    def service(self, details: Any) -> Any:
        codec: dict[str, Any] = {
            "request_deserializer": BytesValue.FromString,
            "response_serializer": BytesValue.SerializeToString,
        }
        kinds: dict[str, Callable[[], Any]] = {
            "Unary": partial(grpc.unary_unary_rpc_method_handler, self._unary, **codec),
            "Expand": partial(grpc.unary_stream_rpc_method_handler, self._expand, **codec),
            "Collect": partial(grpc.stream_unary_rpc_method_handler, self._collect, **codec),
            "Chat": partial(grpc.stream_stream_rpc_method_handler, self._chat, **codec),
        }
        make = kinds.get(details.method.rpartition("/")[2])
        return make() if make is not None else None

    def _unary(self, request: BytesValue, context: Any) -> BytesValue:
        if request.value.startswith(b"code "):
            context.abort(getattr(grpc.StatusCode, request.value[5:].decode()), "as ü asked")
        if request.value == b"deadline":
            self.remaining.append(context.time_remaining())
        if request.value == b"hang":
            context.add_callback(self.cancelled.set)
            self.cancelled.wait(20)
        return request

    def _expand(self, request: BytesValue, context: Any) -> Iterator[BytesValue]:
        for byte in request.value:
            yield BytesValue(value=bytes([byte]))

    def _collect(self, requests: Iterator[BytesValue], context: Any) -> BytesValue:
        return BytesValue(value=b"".join(request.value for request in requests))

    def _chat(self, requests: Iterator[BytesValue], context: Any) -> Iterator[BytesValue]:
        yield from requests


@contextmanager
def _grpcio_server(
    certificates: Certificates, security: str = "plain", compression: grpc.Compression | None = None
) -> Iterator[tuple[str, _GrpcioEcho]]:
    echo = _GrpcioEcho()
    server = grpc.server(
        futures.ThreadPoolExecutor(8), handlers=(echo,), options=OPTIONS, compression=compression
    )
    if security == "plain":
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (certificates.server_key.read_bytes(), certificates.server_cert.read_bytes())
        mutual = security == "mtls"
        credentials = grpc.ssl_server_credentials(
            [pair], certificates.ca_file.read_bytes() if mutual else None, require_client_auth=mutual
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}", echo
    finally:
        server.stop(None).wait()


@security
async def test_we_call_grpcio(certificates: Certificates, security: str) -> None:
    tls = None if security == "plain" else certificates.client(mutual=security == "mtls")
    with _grpcio_server(certificates, security) as (address, _):
        async with open_channel(address, tls=tls) as channel:
            stub = EchoStub(channel)
            big = value(bytes(range(256)) * 4096 * 5)
            with trio.fail_after(60):
                assert await stub.Unary(value(b"x")) == value(b"x")
                assert await stub.Unary(big) == big
                assert await stub.Expand(value(b"abc")) == [value(b"a"), value(b"b"), value(b"c")]
                assert await stub.Collect([value(b"ab"), value(b"cd")]) == value(b"abcd")
                assert await stub.Chat([big, value(b"x"), big]) == [big, value(b"x"), big]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", Invalid),
        ("NOT_FOUND", NotFound),
        ("FAILED_PRECONDITION", Moved),
        ("ABORTED", Fenced),
        ("RESOURCE_EXHAUSTED", Overloaded),
        ("UNAVAILABLE", Unavailable),
        ("INTERNAL", Unavailable),
    ],
)
async def test_we_understand_grpcios_errors(
    certificates: Certificates, code: str, kind: type[KafscaleError]
) -> None:
    with _grpcio_server(certificates) as (address, _):
        async with open_channel(address) as channel:
            with pytest.raises(kind, match="as ü asked"):
                await EchoStub(channel).Unary(value(b"code " + code.encode()))


async def test_our_deadlines_and_cancellation_reach_grpcio(certificates: Certificates) -> None:
    with _grpcio_server(certificates) as (address, echo):
        async with open_channel(address) as channel:
            stub = EchoStub(channel)
            await stub.Unary(value(b"deadline"), timeout=7)
            assert 5 < echo.remaining[0] <= 7
            with pytest.raises(Unavailable) as caught:
                await stub.Unary(value(b"hang"), timeout=0.3)
            assert caught.value.reason is Reason.TIMED_OUT
            assert await trio.to_thread.run_sync(echo.cancelled.wait, 10)


async def test_grpcio_answers_compressed(certificates: Certificates) -> None:
    with _grpcio_server(certificates, compression=grpc.Compression.Gzip) as (address, _):
        async with open_channel(address) as channel:
            body = value(b"compress me " * 10_000)
            assert await EchoStub(channel).Unary(body) == body


async def test_a_grpcio_server_that_stops(certificates: Certificates) -> None:
    with _grpcio_server(certificates) as (address, _):
        pass
    async with open_channel(address) as channel:
        with pytest.raises(Unavailable) as caught:
            await EchoStub(channel).Unary(value(b"x"))
        assert not caught.value.outcome_unknown
