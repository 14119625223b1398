"""The control port: HTTP/1 and gRPC on one socket, and nothing a client sends ends it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import httpx
import pytest
import trio
import trio.testing
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from libs.chassis.control_port import ControlPort
from libs.chassis.listeners import bind, port_of
from libs.chassis.readiness import Readiness
from libs.model.errors import Invalid
from libs.rpc import Health, Server, open_channel, with_reflection
from libs.telemetry.metrics import Metrics


class Port:
    def __init__(self, number: int, readiness: Readiness, metrics: Metrics, health: Health) -> None:
        self.number = number
        self.readiness = readiness
        self.metrics = metrics
        self.health = health

    async def get(self, path: str, method: str = "GET") -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.request(method, f"http://127.0.0.1:{self.number}{path}")

    async def exchange(self, request: bytes) -> bytes:
        """Everything that comes back until the other side closes or resets."""
        answer = b""
        async with await trio.open_tcp_stream("127.0.0.1", self.number) as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(request)
                await stream.send_eof()
                async for chunk in stream:
                    answer += chunk
        return answer


@asynccontextmanager
async def open_port() -> AsyncIterator[Port]:
    readiness, metrics, health = Readiness(), Metrics(), Health()
    control = ControlPort(rpc=Server(with_reflection([health])), readiness=readiness, metrics=metrics)
    listeners = await bind("127.0.0.1", 0, setting="KAFSCALE_ADMIN_PORT")
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_listeners, control.serve_connection, listeners))
            yield Port(port_of(listeners), readiness, metrics, health)
            nursery.cancel_scope.cancel()
    finally:
        metrics.close()


async def test_health_is_up_before_the_process_is_ready() -> None:
    async with open_port() as port:
        assert (await port.get("/healthz")).status_code == 200
        waiting = await port.get("/readyz")
        assert (waiting.status_code, waiting.text) == (503, "waiting for start-up\n")


async def test_readiness_says_what_it_waits_for_then_latches_until_the_drain() -> None:
    store = trio.Event()
    conditions: dict[str, Callable[[], Awaitable[None]]] = {"the object store": store.wait}
    async with open_port() as port, trio.open_nursery() as nursery:
        nursery.start_soon(port.readiness.latch_after, conditions)
        await trio.testing.wait_all_tasks_blocked()
        assert (await port.get("/readyz")).text == "waiting for the object store\n"
        store.set()
        await port.readiness.wait_ready()
        assert (await port.get("/readyz")).status_code == 200
        port.readiness.begin_drain()
        draining = await port.get("/readyz")
        assert (draining.status_code, draining.text) == (503, "draining\n")


async def test_metrics_are_prometheus_text_with_each_family_once() -> None:
    async with open_port() as port:
        port.metrics.counter("kafscale_things", "Things.").add(3, {"kind": "a"})
        text = (await port.get("/metrics")).text
        assert 'kafscale_things_total{kind="a"} 3.0' in text
        assert text.count("# TYPE kafscale_things_total counter") == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("POST", "/metrics", 405), ("HEAD", "/healthz", 200)],
)
async def test_other_requests_get_a_clear_answer(method: str, path: str, status: int) -> None:
    async with open_port() as port:
        assert (await port.get(path, method)).status_code == status


async def test_grpc_answers_on_the_same_port() -> None:
    async with open_port() as port, open_channel(f"127.0.0.1:{port.number}") as channel:
        port.health.set_serving(True)
        reply = await HealthStub(channel).Check(HealthCheckRequest())
        assert reply.status == HealthCheckResponse.SERVING
        assert (await port.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\x03" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
        b"PRI * HT",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000,
        b"\x16\x03\x01\x02\x00\x01",
        b"",
    ],
)
async def test_garbage_ends_its_own_connection_only(garbage: bytes) -> None:
    async with open_port() as port:
        with trio.fail_after(10):
            answer = await port.exchange(garbage)
        assert not answer or answer.startswith((b"HTTP/1.1 4", b"\x00\x00"))
        assert (await port.get("/healthz")).status_code == 200


async def test_a_port_in_use_names_the_setting() -> None:
    async with open_port() as port:
        with pytest.raises(
            Invalid, match=rf"127.0.0.1:{port.number} \(KAFSCALE_KAFKA_PORT\): another process"
        ):
            await bind("127.0.0.1", port.number, setting="KAFSCALE_KAFKA_PORT")
