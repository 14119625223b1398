"""A Kafka client for tests that says exactly what it is told to say, and reads every byte of the answers."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from crc32c import crc32c

from services.gateway.framing import FrameReader
from tests.support.kafka_wire import Values, read_answer, request_frame, with_length


class Client:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._frames = FrameReader()
        self._asked: list[tuple[int, int, int]] = []
        self._last = 0

    async def send(self, api_key: int, version: int, values: Values | None = None) -> int:
        """Sends a request; returns its correlation id."""
        self._last += 1
        frame = request_frame(api_key, version, values, correlation_id=self._last)
        self._asked.append((self._last, api_key, version))
        await self.stream.send_all(with_length(frame))
        return self._last

    async def receive(self) -> Any:
        """The next answer, which must be to the oldest request."""
        expected, api_key, version = self._asked.pop(0)
        frame = await self.receive_frame()
        assert frame is not None, "the gateway closed the connection"
        correlation_id, answer = read_answer(api_key, version, frame)
        assert correlation_id == expected
        return answer

    async def ask(self, api_key: int, version: int, values: Values | None = None) -> Any:
        await self.send(api_key, version, values)
        return await self.receive()

    async def receive_frame(self) -> bytes | None:
        """None at the end of the stream."""
        while (frame := self._frames.next_frame()) is None:
            data = await self.stream.receive_some()
            if not data:
                return None
            self._frames.receive_data(bytes(data))
        return frame

    def expect_nothing(self, correlation_id: int) -> None:
        """That request has no answer (acks=0)."""
        self._asked = [each for each in self._asked if each[0] != correlation_id]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        yield Client(stream)


def batch(
    *values: bytes, producer_id: int = -1, sequence: int = -1, attributes: int = 0, crc: int | None = None
) -> bytes:
    """A record batch, magic 2, of records without keys."""
    records = b""
    for delta, value in enumerate(values):
        body = b"\x00\x00" + _zigzag(delta) + b"\x01" + _zigzag(len(value)) + value + b"\x00"
        records += _zigzag(len(body)) + body
    epoch = 0 if producer_id >= 0 else -1
    covered = (
        struct.pack(
            ">hiqqqhii", attributes, len(values) - 1, 1000, 1000, producer_id, epoch, sequence, len(values)
        )
        + records
    )
    crc = crc32c(covered) if crc is None else crc
    return struct.pack(">qiibI", 0, len(covered) + 9, -1, 2, crc) + covered


def _zigzag(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*encoded, value])
