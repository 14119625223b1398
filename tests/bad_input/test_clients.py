"""What a Kafka client may send wrongly: it hears about it or loses its connection, others notice nothing."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import confluent_kafka
import pytest

from tests.support.background import running
from tests.support.control import get, metric_value
from tests.support.names import unique
from tests.support.platform import Platform, open_gateway
from tests.support.raw_kafka import (
    API_METADATA,
    API_VERSIONS,
    RawConnection,
    connected,
    frame,
    header,
    produce_v3,
    produce_v3_error,
    string,
)
from tests.support.records import Record, encode_batch
from tools.stack.processes import Child
from tools.stack.stack import HOST

CORRUPT_MESSAGE, UNKNOWN_TOPIC, INVALID_TOPIC, UNSUPPORTED_VERSION = 2, 3, 17, 35
UNSUPPORTED_FOR_MESSAGE_FORMAT, INVALID_RECORD = 43, 87
DELIVERY_SECONDS_MAX = 30.0
IDLE_CONNECTIONS = 10_000
ACTIVE = "kafscale_active_connections"


@contextmanager
def _undisturbed(stack: Platform, gateway: Child | None = None) -> Iterator[None]:
    """Another client produces before and after, on one connection; the gateway is the same process."""
    gateway = gateway or stack.children["gateway-0"]
    pid = gateway.pid
    lost: list[object] = []
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": f"{HOST}:{gateway.ports.kafka}",
            "error_cb": lost.append,
            "message.timeout.ms": int(DELIVERY_SECONDS_MAX * 1000),
        }
    )

    def produce() -> None:
        outcome: list[object] = []
        producer.produce("undisturbed", b"x", on_delivery=lambda error, _message: outcome.append(error))
        assert producer.flush(DELIVERY_SECONDS_MAX) == 0
        assert outcome == [None]

    produce()
    yield
    produce()
    assert not lost
    assert (gateway.alive, gateway.pid) == (True, pid)


def _said(stack: Platform, text: str) -> bool:
    """Whether the gateway's log has a line with this text."""
    return text in stack.children["gateway-0"].log_since_start()


def _request_versions(connection: RawConnection) -> bytes:
    connection.send(frame(header(API_VERSIONS, 0)))
    answer = connection.receive_frame()
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="garbage"),
        pytest.param(struct.pack(">i", 2**31 - 1), id="a length of 2 GiB"),
        pytest.param(struct.pack(">i", -1), id="a negative length"),
        pytest.param(
            frame(header(API_METADATA, 12) + b"\x00" + b"\xff\xff\xff\xff\x0f"), id="2^32 - 2 elements"
        ),
        pytest.param(frame(header(API_METADATA, 1) + struct.pack(">i", 2**31 - 1)), id="2^31 - 1 elements"),
        pytest.param(frame(header(API_METADATA, 1) + struct.pack(">i", 1)), id="an array cut short"),
        pytest.param(frame(b"\x00"), id="half a header"),
        pytest.param(frame(header(999, 0)), id="an API that is none"),
        pytest.param(frame(header(API_METADATA, 999)), id="a version that is none"),
    ],
)
def test_what_cannot_be_parsed_closes_that_connection_with_a_reason(stack: Platform, sent: bytes) -> None:
    with _undisturbed(stack), connected(stack.bootstraps[0]) as connection:
        connection.send(sent)
        assert connection.is_closed_by_peer()
        host, port = connection.socket.getsockname()
        assert _said(stack, f"{host}:{port}")


def test_a_truncated_frame_is_dropped_with_its_connection(stack: Platform) -> None:
    with _undisturbed(stack), connected(stack.bootstraps[0]) as connection:
        connection.send(frame(header(API_VERSIONS, 0))[:-3])
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.is_closed_by_peer()


def test_an_unknown_version_of_api_versions_gets_the_v0_answer(stack: Platform) -> None:
    with connected(stack.bootstraps[0]) as connection:
        connection.send(frame(header(API_VERSIONS, 99)))
        answer = connection.receive_frame()
        assert answer is not None
        correlation_id, code, count = struct.unpack_from(">ihi", answer)
        assert (correlation_id, code) == (7, UNSUPPORTED_VERSION)
        assert count > 0
        assert _request_versions(connection)


def _topic(stack: Platform) -> str:
    topic = unique("bad-batches")
    producer = confluent_kafka.Producer({"bootstrap.servers": stack.bootstraps[0]})
    producer.produce(topic, b"first")
    assert producer.flush(DELIVERY_SECONDS_MAX) == 0
    return topic


@pytest.mark.parametrize(
    ("position", "value", "codes"),
    [
        pytest.param(20, 0xFF, {CORRUPT_MESSAGE}, id="a wrong CRC"),
        pytest.param(
            16, 0x07, {CORRUPT_MESSAGE, UNSUPPORTED_FOR_MESSAGE_FORMAT, INVALID_RECORD}, id="a bad magic"
        ),
        pytest.param(11, 0xFF, {CORRUPT_MESSAGE}, id="a batch longer than its request"),
        pytest.param(61, 0xFF, {CORRUPT_MESSAGE}, id="a flipped byte in a record"),
    ],
)
def test_a_bad_batch_is_refused_and_not_stored(
    stack: Platform, position: int, value: int, codes: set[int]
) -> None:
    topic = _topic(stack)
    batch = bytearray(encode_batch([Record(key=None, value=b"hello")]))
    batch[position] ^= value
    with _undisturbed(stack), connected(stack.bootstraps[0]) as connection:
        connection.send(produce_v3(topic.encode(), 0, bytes(batch)))
        answer = connection.receive_frame()
        assert answer is not None
        assert produce_v3_error(answer) in codes
        assert _request_versions(connection)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": stack.bootstraps[1], "group.id": unique("bad")})
    try:
        partition = confluent_kafka.TopicPartition(topic, 0)
        assert consumer.get_watermark_offsets(partition, timeout=DELIVERY_SECONDS_MAX) == (0, 1)
    finally:
        consumer.close()


@pytest.mark.parametrize("name", [b"", b"..", b"sp ace", b"x" * 250, b"\xc3\xa9"])
def test_a_topic_name_that_is_none_is_refused_by_name(stack: Platform, name: bytes) -> None:
    with _undisturbed(stack), connected(stack.bootstraps[0]) as connection:
        connection.send(frame(header(API_METADATA, 4) + struct.pack(">i", 1) + string(name) + b"\x01"))
        answer = connection.receive_frame()
        assert answer is not None
        assert struct.pack(">h", INVALID_TOPIC) + string(name) in answer


def test_connections_that_send_nothing_hurt_nobody(stack: Platform) -> None:
    """The soft limit of open files that most systems set would end it after a tenth of them."""
    assert stack.stack is not None
    gateway = partial(open_gateway, stack.stack, "gateway-9", limits="ulimit -Sn 1024")
    with running(gateway) as opened, ExitStack() as idle:
        address = f"{HOST}:{opened.value.ports.kafka}"
        with _undisturbed(stack, opened.value):
            for _ in range(IDLE_CONNECTIONS):
                idle.enter_context(connected(address))
            with connected(address) as connection:
                assert _request_versions(connection)
            assert (
                metric_value(get(f"{HOST}:{opened.value.ports.admin}", "/metrics").text, ACTIVE)
                >= IDLE_CONNECTIONS
            )
            idle.close()


def _wait_left(control: str) -> None:
    """Until the gateway noticed that its clients are gone."""
    deadline = time.monotonic() + DELIVERY_SECONDS_MAX
    while metric_value(get(control, "/metrics").text, ACTIVE) > 0:
        assert time.monotonic() < deadline


def test_connections_beyond_the_bound_are_refused(stack: Platform) -> None:
    """Where even the hard limit of open files is small, the bound follows it."""
    assert stack.stack is not None
    gateway = partial(open_gateway, stack.stack, "gateway-9", limits="ulimit -n 600")
    with running(gateway) as opened, ExitStack() as idle:
        address = f"{HOST}:{opened.value.ports.kafka}"
        served = 0
        for _ in range(400):
            connection = idle.enter_context(connected(address))
            connection.send(frame(header(API_VERSIONS, 0)))
            served += connection.receive_frame() is not None
        assert 300 < served <= 344
        assert opened.value.alive
        idle.close()
        _wait_left(f"{HOST}:{opened.value.ports.admin}")
        with connected(address) as connection:
            assert _request_versions(connection)
        assert "connections_bound_lowered" in opened.value.log_since_start()
