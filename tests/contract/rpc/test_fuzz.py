"""Bytes that no peer should send: the server closes that connection and serves the next."""

import struct
from contextlib import suppress
from random import Random

import h2.config
import h2.connection
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.model.errors import Invalid, KafscaleError
from libs.rpc import RpcLimits, Server, open_channel
from libs.rpc.framing import MessageReader
from tests.contract.rpc.echo import Echo, EchoStub, value
from tests.contract.rpc.raw_peer import REQUEST, framed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LIMITS = RpcLimits(receive_message_bytes_max=10_000, calls_max=20)


def _conversation() -> bytes:
    """What a well-behaved client sends for three calls."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    peer.initiate_connection()
    for stream_id in (1, 3, 5):
        peer.send_headers(stream_id, REQUEST)
        peer.send_data(stream_id, framed(b"hello"), end_stream=stream_id != 5)
    peer.ping(b"12345678")
    peer.increment_flow_control_window(1000)
    peer.reset_stream(5)
    return peer.data_to_send()


async def _feed(server: Server, data: bytes, random: Random) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, theirs)
        position = 0
        while position < len(data):
            size = random.choice([1, 7, 100, 10_000])
            try:
                await ours.send_all(data[position : position + size])
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                break
            position += size
        await ours.send_eof()
        with trio.fail_after(10):
            while await ours.receive_some(65536):
                pass
    assert server.statistics().connections == 0
    assert server.statistics().calls_in_flight == 0


async def _still_serves(server: Server) -> None:
    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.serve_connection, theirs)
            return ours

        async with open_channel("fuzz:1", connector=connect) as channel:
            assert await EchoStub(channel).Unary(value(b"x")) == value(b"x")


async def test_mutated_conversations() -> None:
    random = Random(7)
    server = Server([Echo()], limits=LIMITS)
    good = _conversation()
    for _ in range(300):
        data = bytearray(good)
        for _ in range(random.randint(1, 8)):
            at = random.randrange(len(PREFACE), len(data))
            match random.randrange(4):
                case 0:
                    data[at] = random.randrange(256)
                case 1:
                    del data[at : at + random.randint(1, 20)]
                case 2:
                    data[at:at] = random.randbytes(random.randint(1, 20))
                case 3:
                    data += data[len(PREFACE) :]
            data = data[:100_000] or bytearray(good)
            if len(data) <= len(PREFACE):
                break
        await _feed(server, bytes(data), random)
    await _still_serves(server)


async def test_random_frames() -> None:
    random = Random(8)
    server = Server([Echo()], limits=LIMITS)
    for _ in range(300):
        frames = [PREFACE, b"\0\0\0\x04\0\0\0\0\0"]
        for _ in range(random.randint(1, 20)):
            body = random.randbytes(random.choice([0, 1, 4, 5, 8, 30]))
            size = len(body) if random.random() < 0.95 else random.randrange(2**24)
            stream_id = random.choice([0, 0, 1, 1, 2, 3, 5, 2**31 - 1])
            kind, flags = random.choice([*range(11), 255]), random.choice([0, 1, 4, 5, 8, 0x20, 255])
            frames.append(struct.pack(">HBBBL", size >> 8, size & 255, kind, flags, stream_id) + body)
        await _feed(server, b"".join(frames), random)
    await _still_serves(server)


async def test_a_channel_survives_any_server() -> None:
    random = Random(10)
    for _ in range(200):
        good = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        good.initiate_connection()
        data = bytearray(good.data_to_send())
        ours, theirs = trio.testing.memory_stream_pair()

        async def connect(host: str, port: int, stream: trio.abc.Stream = ours) -> trio.abc.Stream:
            return stream

        for _ in range(random.randint(1, 10)):
            body = random.choice(
                [b"\x88", b"\x8d", b"\x00\x0bgrpc-status\x01x", framed(b"x"), random.randbytes(9)]
            )
            kind, flags = random.choice([0, 0, 1, 1, 1, 3, 7, 8]), random.choice([0, 1, 4, 5])
            data += struct.pack(">HBBBL", 0, len(body), kind, flags, random.choice([0, 1, 1, 1, 3])) + body
        async with (
            open_channel("fuzz:1", limits=LIMITS, connector=connect) as channel,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_answer, theirs, bytes(data))
            with trio.fail_after(10), suppress(KafscaleError):
                await EchoStub(channel).Unary(value(b"x"))
            nursery.cancel_scope.cancel()


async def _answer(
    stream: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream], data: bytes
) -> None:
    try:
        for position in range(0, len(data), 50):
            await stream.send_all(data[position : position + 50])
            await trio.testing.wait_all_tasks_blocked()
        await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the channel had heard enough


async def test_random_bytes() -> None:
    random = Random(9)
    server = Server([Echo()], limits=LIMITS)
    for number in range(200):
        start = PREFACE if number % 2 else b""
        await _feed(server, start + random.randbytes(random.randint(1, 2000)), random)
    await _still_serves(server)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    payloads=st.lists(st.binary(max_size=200), max_size=10),
    tail=st.binary(max_size=4),
    cuts=st.lists(st.integers(min_value=1, max_value=300), min_size=1, max_size=20),
)
def test_messages_survive_any_cut(payloads: list[bytes], tail: bytes, cuts: list[int]) -> None:
    data = b"".join(struct.pack(">BI", 0, len(payload)) + payload for payload in payloads) + tail
    reader = MessageReader(size_bytes_max=200)
    found: list[tuple[bytes, int]] = []
    position = number = 0
    while position < len(data):
        size = cuts[number % len(cuts)]
        found.extend(reader.feed(data[position : position + size]))
        position += size
        number += 1
    assert found == [(payload, len(payload) + 5) for payload in payloads]
    assert reader.partial_bytes == len(tail)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), encoding=st.sampled_from(["identity", "gzip"]))
def test_message_reader_refuses_only_with_invalid(data: bytes, encoding: str) -> None:
    reader = MessageReader(size_bytes_max=100)
    reader.set_encoding(encoding)
    try:
        for payload, wire_bytes in reader.feed(data):
            assert len(payload) <= 100
            assert wire_bytes >= 5
    except Invalid:
        return
    assert reader.partial_bytes < 106
