"""One Kafka connection that produces and fetches, for tests that look at the platform behind it.

Owns: the few requests that a producer and a consumer send, at the versions of a client of today.
Does not own: frames and entities (kafka_wire.py). Rule: nothing is tried again, whatever is answered is told.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from kio.schema.errors import ErrorCode

from libs.records import iter_batches
from tests.support.records import Record, decode_batch, encode_batch
from tests.unit.services.gateway.client import Client, connected

PRODUCE, FETCH, METADATA, CREATE_TOPICS, INIT_PRODUCER_ID = 0, 1, 3, 19, 22
WAIT_SECONDS_MAX = 10.0


class Refused(Exception):
    """The platform answered with an error code."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


class KafkaSession:
    """Topics have one partition unless told otherwise; values are records without keys."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create_topic(self, name: str, partitions: int = 1) -> None:
        """Raises Refused. The topic may be produced to at once."""
        wanted = {"name": name, "num_partitions": partitions, "replication_factor": 1}
        timeout = timedelta(seconds=WAIT_SECONDS_MAX)
        answer = await self._client.ask(CREATE_TOPICS, 5, {"topics": [wanted], "timeout": timeout})
        _check(answer.topics[0].error_code)

    async def send(self, topic: str, values: Sequence[bytes], **batch: Any) -> None:
        """Sends one batch and does not wait for the answer; `batch` goes to `encode_batch`."""
        records = encode_batch([Record(key=None, value=each) for each in values], **batch)
        await self.send_batch(topic, records)

    async def send_batch(self, topic: str, records: bytes) -> None:
        parts = [{"index": 0, "records": records}]
        request = {
            "acks": -1,
            "timeout": timedelta(seconds=WAIT_SECONDS_MAX),
            "topic_data": [{"name": topic, "partition_data": parts}],
        }
        await self._client.send(PRODUCE, 9, request)

    async def acknowledged(self) -> int:
        """The base offset that the oldest `send` was answered with. Raises Refused."""
        answer = await self._client.receive()
        (part,) = answer.responses[0].partition_responses
        _check(part.error_code)
        offset: int = part.base_offset
        return offset

    async def produce(self, topic: str, *values: bytes, **batch: Any) -> int:
        """The base offset of one batch, once it is durable. Raises Refused."""
        await self.send(topic, values, **batch)
        return await self.acknowledged()

    async def fetch(self, topic: str, offset: int, *, wait_ms: int = 0) -> list[tuple[int, bytes]]:
        """(offset, value) of what is there from `offset` on, within a megabyte. Raises Refused."""
        part = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": 1 << 20}
        request = {
            "max_wait": timedelta(milliseconds=wait_ms),
            "min_bytes": 1,
            "max_bytes": 1 << 20,
            "topics": [{"topic": topic, "partitions": [part]}],
        }
        answer = await self._client.ask(FETCH, 12, request)
        _check(answer.error_code)
        (found,) = answer.responses[0].partitions
        _check(found.error_code)
        return [
            (at, record.value or b"")
            for batch in iter_batches(bytes(found.records or b""))
            for at, record in decode_batch(batch.data)
            if at >= offset
        ]

    async def fetch_all(self, topic: str) -> list[tuple[int, bytes]]:
        """Everything from offset 0 to the end."""
        records: list[tuple[int, bytes]] = []
        while more := await self.fetch(topic, len(records)):
            records += more
        return records


@asynccontextmanager
async def open_session(port: int) -> AsyncIterator[KafkaSession]:
    async with connected(port) as client:
        yield KafkaSession(client)


def _check(code: ErrorCode) -> None:
    if code is not ErrorCode.none:
        raise Refused(code)
