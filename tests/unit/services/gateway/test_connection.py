"""Connections: order, bounds, and what becomes of clients that misbehave. Others notice nothing."""

import struct
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from libs.model.ids import Partition, TopicPartition
from tests.support.kafka_wire import request_frame, with_length
from tests.unit.services.gateway.client import batch, connected
from tests.unit.services.gateway.cluster import Served, open_served


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with open_served() as running:
        running.cluster.metadata.create("orders", 2)
        await running.cluster.wait_seen()
        yield running


def produce(records: bytes, acks: int = -1) -> dict[str, Any]:
    return {
        "acks": acks,
        "timeout": timedelta(seconds=10),
        "topic_data": [{"name": "orders", "partition_data": [{"index": 0, "records": records}]}],
    }


async def is_closed(data: bytes, served: Served) -> str:
    """Sends garbage on a connection of its own; the gateway must close it and say why."""
    with capture_logs() as logs, trio.fail_after(5):
        async with connected(served.port) as client:
            assert isinstance(client.stream, trio.SocketStream)
            host, port = client.stream.socket.getsockname()
            await client.stream.send_all(data)
            assert await client.receive_frame() is None
    rejected = [each for each in logs if each["event"] == "request_rejected"]
    assert len(rejected) == 1
    assert rejected[0]["peer"] == f"{host}:{port}"
    return str(rejected[0]["error"])


GOOD = request_frame(3, 9, {"topics": None})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n", "announces"),
        (struct.pack(">i", 2**31 - 1), "2147483647"),
        (struct.pack(">i", -1), "negative"),
        (with_length(b""), "shorter than its header"),
        (with_length(GOOD[:6]), "shorter than its header"),
        (with_length(GOOD[:8] + b"\x7f\xff"), "client id"),
        (with_length(GOOD[:-3]), "at byte"),
        (with_length(GOOD[:15] + b"\xff\xff\xff\xff\x0f"), "elements"),
        (with_length(b"\x00\x63" + GOOD[2:]), "API 99"),
        (with_length(b"\x00\x03\x00\x63" + GOOD[4:]), "version 99"),
        (with_length(b"\x00\x00\x00\x02" + GOOD[4:]), "version 2"),
    ],
)
async def test_what_can_not_be_parsed_closes_that_connection_only(
    served: Served, data: bytes, why: str
) -> None:
    async with connected(served.port) as neighbour:
        await neighbour.ask(18, 0)
        assert why in await is_closed(data, served)
        await neighbour.ask(18, 0)


async def test_a_frame_that_ends_in_the_middle(served: Served) -> None:
    with capture_logs() as logs:
        async with connected(served.port) as client:
            await client.stream.send_all(with_length(GOOD)[:-2])
            assert isinstance(client.stream, trio.SocketStream)
            await client.stream.send_eof()
            with trio.fail_after(5):
                assert await client.receive_frame() is None
    assert "in the middle" in next(each["error"] for each in logs if each["event"] == "request_rejected")
    assert served.gateway.statistics().in_flight_bytes == 0


async def test_byte_by_byte_and_all_at_once(served: Served) -> None:
    async with connected(served.port) as client:
        for byte in with_length(request_frame(18, 0, correlation_id=1)):
            await client.stream.send_all(bytes([byte]))
        frame = await client.receive_frame()
        assert frame is not None
        several = [with_length(request_frame(18, 0, correlation_id=number)) for number in range(20)]
        await client.stream.send_all(b"".join(several))
        for number in range(20):
            frame = await client.receive_frame()
            assert frame is not None
            assert int.from_bytes(frame[:4], "big") == number


async def test_what_was_asked_before_the_end_is_still_answered(served: Served) -> None:
    async with connected(served.port) as client:
        await client.send(0, 9, produce(batch(b"last words")))
        await client.send(3, 9, {"topics": None})
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
        await client.receive()
        assert [topic.name for topic in (await client.receive()).topics] == ["orders"]
        assert await client.receive_frame() is None


async def test_quiet_appends_of_a_client_that_left_at_once_land(served: Served) -> None:
    topic = served.cluster.metadata.topics["orders"]  # type: ignore[index]
    at = TopicPartition(topic.topic_id, Partition(0))
    owner = served.cluster.owner_of(at)
    async with connected(served.port) as client:
        for _ in range(3):
            await client.send(0, 9, produce(batch(b"quiet"), acks=0))
    with trio.fail_after(5):
        await owner.wait(lambda: owner.received == 3)
    await trio.testing.wait_all_tasks_blocked()
    assert owner.end(at) == 3


async def test_requests_beyond_the_bound_are_not_read() -> None:
    async with open_served(connection_requests_max=4) as served:
        topic = served.cluster.metadata.create("orders")
        await served.cluster.wait_seen()
        owner = served.cluster.owners[0]
        owner.hold = trio.Event()
        at = TopicPartition(topic.topic_id, Partition(0))
        async with connected(served.port) as client:
            for number in range(10):
                await client.send(0, 9, produce(batch(b"%d" % number)))
            await owner.wait(lambda: owner.received == 4)
            with trio.move_on_after(0.1):
                await owner.wait(lambda: owner.received > 4)
            assert owner.received == 4
            owner.hold.set()
            for _ in range(10):
                await client.receive()
        assert owner.end(at) == 10


async def test_bytes_beyond_the_bound_of_all_are_not_read() -> None:
    sizes = {"request_bytes_max": 20_000, "connection_bytes_max": 20_000, "in_flight_bytes_max": 20_000}
    async with open_served(**sizes) as served:
        served.cluster.metadata.create("orders")
        await served.cluster.wait_seen()
        owner = served.cluster.owners[0]
        owner.hold = trio.Event()
        async with connected(served.port) as first, connected(served.port) as second:
            await first.send(0, 9, produce(batch(bytes(15_000))))
            await owner.wait(lambda: owner.received == 1)
            await second.send(0, 9, produce(batch(bytes(15_000))))
            with trio.move_on_after(0.1):
                await owner.wait(lambda: owner.received > 1)
            assert owner.received == 1
            assert served.gateway.statistics().requests_waiting == 1
            owner.hold.set()
            await first.receive()
            await second.receive()
        assert "at most 20000" in await is_closed(struct.pack(">i", 20_001), served)


async def test_who_says_nothing_is_let_go_but_not_who_waits_for_an_answer() -> None:
    async with open_served(connection_idle_seconds=0.2) as served:
        served.cluster.metadata.create("orders")
        await served.cluster.wait_seen()
        fetch = {
            "max_wait": timedelta(seconds=0.6),
            "min_bytes": 1,
            "max_bytes": 1000,
            "topics": [{"topic": "orders", "partitions": [{"partition_max_bytes": 10}]}],
        }
        async with connected(served.port) as idle, connected(served.port) as waiting:
            await waiting.send(1, 12, fetch)
            with trio.fail_after(5):
                assert await idle.receive_frame() is None
                assert (await waiting.receive()).responses[0].partitions[0].records == b""


async def test_who_stalls_within_a_request_is_let_go() -> None:
    async with open_served(connection_stall_seconds=0.2) as served, connected(served.port) as client:
        await client.stream.send_all(with_length(GOOD)[:-1])
        with trio.fail_after(5):
            assert await client.receive_frame() is None


async def test_who_does_not_read_its_answers_is_let_go() -> None:
    async with open_served(connection_stall_seconds=0.3) as served:
        topic = served.cluster.metadata.create("orders")
        await served.cluster.wait_seen()
        at = TopicPartition(topic.topic_id, Partition(0))
        served.cluster.owners[0].logs[at] = [batch(bytes(4 << 20))]
        fetch = {
            "min_bytes": 1,
            "max_bytes": 8 << 20,
            "topics": [{"topic": "orders", "partitions": [{"partition_max_bytes": 8 << 20}]}],
        }
        with capture_logs() as logs:
            async with connected(served.port) as client:
                for _ in range(4):
                    await client.send(1, 12, fetch)
                while served.gateway.statistics().connections:
                    await trio.testing.wait_all_tasks_blocked(0.05)
        assert "slow_reader" in [each.get("reason") for each in logs]
        assert served.gateway.statistics().fetched_bytes == 0
        assert served.gateway.statistics().in_flight_bytes == 0


async def test_a_fault_in_a_handler_ends_its_connection_only(served: Served) -> None:
    # There is no group coordinator in this cluster at all: a fault of the test's making.
    with capture_logs() as logs:
        async with connected(served.port) as neighbour, connected(served.port) as client:
            await client.send(16, 0)
            assert await client.receive_frame() is None
            await neighbour.ask(18, 0)
    assert "connection_failed" in [each["event"] for each in logs]
