"""One Kafka connection that produces and fetches, for tests that look at the platform behind it.

Owns: the few requests that a producer and a consumer send, at the versions of a client of today.
Does not own: frames and entities (kafka_wire.py). Rule: nothing is tried again, whatever is answered is told.
"""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import trio
from kio.schema.errors import ErrorCode

from libs.records import iter_batches
from tests.support.kafka_wire import Values, read_answer, request_frame, with_length
from tests.support.records import Record, decode_batch, encode_batch

PRODUCE, FETCH, CREATE_TOPICS, INIT_PRODUCER_ID = 0, 1, 19, 22
WAIT_SECONDS_MAX = 10.0
FETCH_BYTES_MAX = 1 << 20


class Refused(Exception):
    """The platform answered with an error code."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


class Disconnected(Exception):
    """The other side closed or reset the connection."""


class KafkaSession:
    """Partition 0 is meant where none is named; values are records without keys."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._asked: deque[tuple[int, int, int]] = deque()
        self._last = 0
        self._received = bytearray()

    async def create_topic(self, name: str, partitions: int = 1) -> None:
        """Raises Refused. The topic may be produced to at once."""
        wanted = {"name": name, "num_partitions": partitions, "replication_factor": 1}
        timeout = timedelta(seconds=WAIT_SECONDS_MAX)
        answer = await self._ask(CREATE_TOPICS, 5, {"topics": [wanted], "timeout": timeout})
        _check(answer.topics[0].error_code)

    async def new_producer_id(self) -> int:
        """Raises Refused."""
        values = {"transaction_timeout": timedelta(0), "producer_id": -1, "producer_epoch": -1}
        answer = await self._ask(INIT_PRODUCER_ID, 4, values)
        _check(answer.error_code)
        producer_id: int = answer.producer_id
        return producer_id

    async def send(self, topic: str, batches: Mapping[int, bytes]) -> None:
        """Sends one batch to each of these partitions in one request; `acknowledged` gets the answer."""
        parts = [{"index": index, "records": records} for index, records in batches.items()]
        values = {
            "acks": -1,
            "timeout": timedelta(seconds=WAIT_SECONDS_MAX),
            "topic_data": [{"name": topic, "partition_data": parts}],
        }
        await self._send(PRODUCE, 9, values)

    async def acknowledged(self) -> list[int]:
        """The base offsets that the oldest `send` was answered with. Raises Refused, Disconnected."""
        answer = await self._receive()
        parts = answer.responses[0].partition_responses
        for part in parts:
            _check(part.error_code)
        return [part.base_offset for part in parts]

    async def produce(self, topic: str, *values: bytes) -> int:
        """The base offset of one batch, once it is durable. Raises Refused, Disconnected."""
        await self.send(topic, {0: batch(values)})
        (offset,) = await self.acknowledged()
        return offset

    async def fetch(self, topic: str, offset: int, *, wait_ms: int = 0) -> list[tuple[int, bytes]]:
        """(offset, value) of what is there from `offset` on, within a megabyte. Raises Refused."""
        part = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": FETCH_BYTES_MAX}
        values = {
            "max_wait": timedelta(milliseconds=wait_ms),
            "min_bytes": 1,
            "max_bytes": FETCH_BYTES_MAX,
            "topics": [{"topic": topic, "partitions": [part]}],
        }
        answer = await self._ask(FETCH, 12, values)
        _check(answer.error_code)
        (found,) = answer.responses[0].partitions
        _check(found.error_code)
        return [
            (at, record.value or b"")
            for each in iter_batches(bytes(found.records or b""))
            for at, record in decode_batch(each.data)
            if at >= offset
        ]

    async def fetch_all(self, topic: str) -> list[tuple[int, bytes]]:
        """Everything from offset 0 to the end."""
        records: list[tuple[int, bytes]] = []
        while more := await self.fetch(topic, len(records)):
            records += more
        return records

    async def _ask(self, api_key: int, version: int, values: Values) -> Any:
        await self._send(api_key, version, values)
        return await self._receive()

    async def _send(self, api_key: int, version: int, values: Values) -> None:
        self._last += 1
        frame = request_frame(api_key, version, values, correlation_id=self._last)
        self._asked.append((self._last, api_key, version))
        try:
            await self._stream.send_all(with_length(frame))
        except trio.BrokenResourceError as error:
            raise Disconnected from error

    async def _receive(self) -> Any:
        """The answer to the oldest request."""
        expected, api_key, version = self._asked.popleft()
        size = int.from_bytes(await self._exactly(4), "big")
        correlation_id, answer = read_answer(api_key, version, await self._exactly(size))
        assert correlation_id == expected
        return answer

    async def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            try:
                data = await self._stream.receive_some()
            except trio.BrokenResourceError as error:
                raise Disconnected from error
            if not data:
                raise Disconnected
            self._received += data
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken


@asynccontextmanager
async def open_session(port: int) -> AsyncIterator[KafkaSession]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        yield KafkaSession(stream)


def batch(values: Sequence[bytes], *, producer_id: int = -1, sequence: int = -1) -> bytes:
    """One record batch, idempotent where there is a producer id."""
    return encode_batch(
        [Record(key=None, value=each) for each in values],
        producer_id=producer_id,
        producer_epoch=-1 if producer_id < 0 else 0,
        base_sequence=sequence,
    )


def _check(code: ErrorCode) -> None:
    if code is not ErrorCode.none:
        raise Refused(code)
