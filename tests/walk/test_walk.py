"""Produce and fetch through the whole platform, in one process, take the steps that docs/walks tells."""

import re
from pathlib import Path

import pytest
import trio

from libs.telemetry.spans import RecordedSpans, recording_spans
from tests.support.kafka_session import open_session
from tests.support.standalone import open_standalone

WALKS = Path(__file__).resolve().parents[2] / "docs" / "walks"


def steps(walk: str) -> list[str]:
    """The names of the walk's spans, in the order of its steps."""
    text = (WALKS / walk).read_text()
    found: list[str] = re.findall(r"span `([\w.]+)`", text)
    return found


class Steps:
    """What was recorded since the last look."""

    def __init__(self, recorded: RecordedSpans) -> None:
        self._recorded = recorded
        self._seen = 0

    async def take(self, *, parked: int = 0) -> list[str]:
        """Waits for the ends of all requests but the parked: a client has its answer before the step ends."""
        while self._open_requests() > parked:
            await trio.lowlevel.checkpoint()
        names = self._recorded.names()[self._seen :]
        self._seen += len(names)
        return names

    def _open_requests(self) -> int:
        names = self._recorded.names()
        return names.count("gateway.parse") - names.count("gateway.answer")


async def test_a_produce_takes_the_steps_of_its_walk(tmp_path: Path) -> None:
    with recording_spans() as recorded, trio.fail_after(20):
        async with open_standalone(tmp_path) as platform, open_session(platform.kafka_port) as client:
            await client.create_topic("orders")
            assert await client.produce("orders", b"first") == 0
            taken = Steps(recorded)
            await taken.take()
            assert await client.produce("orders", b"second", b"third") == 1
            names = await taken.take()
    assert names == steps("produce.md")


async def test_a_fetch_takes_the_steps_of_its_walk(tmp_path: Path) -> None:
    with recording_spans() as recorded, trio.fail_after(20):
        async with open_standalone(tmp_path) as platform, open_session(platform.kafka_port) as client:
            await client.create_topic("orders")
            await client.produce("orders", b"first", b"second")
            taken = Steps(recorded)
            await taken.take()
            assert await client.fetch("orders", 1) == [(1, b"second")]
            names = await taken.take()
    assert names == steps("fetch.md")


async def test_a_fetch_at_the_end_waits_for_a_produce_to_be_durable(tmp_path: Path) -> None:
    with recording_spans() as recorded, trio.fail_after(20):
        async with (
            open_standalone(tmp_path) as platform,
            open_session(platform.kafka_port) as producer,
            open_session(platform.kafka_port) as consumer,
        ):
            await producer.create_topic("orders")
            await producer.produce("orders", b"first")
            taken = Steps(recorded)
            fetched: list[tuple[int, bytes]] = []

            async def fetch() -> None:
                fetched.extend(await consumer.fetch("orders", 1, wait_ms=10_000))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch)
                while "owner.check" not in recorded.names():
                    await trio.lowlevel.checkpoint()
                await taken.take(parked=1)
                await producer.produce("orders", b"second")
            names = await taken.take()
    assert fetched == [(1, b"second")]
    assert names.index("owner.acknowledge") < names.index("owner.wait") < names.index("owner.read")


@pytest.mark.parametrize("count", [1, 20])
async def test_a_restart_reads_from_the_objects_what_the_first_life_wrote(tmp_path: Path, count: int) -> None:
    written = [(number, b"record %d" % number) for number in range(count)]
    with trio.fail_after(20):
        async with open_standalone(tmp_path) as platform, open_session(platform.kafka_port) as client:
            await client.create_topic("orders")
            for offset, value in written:
                assert await client.produce("orders", value) == offset
        async with open_standalone(tmp_path) as platform, open_session(platform.kafka_port) as client:
            assert await client.produce("orders", b"after") == count
            assert await client.fetch_all("orders") == [*written, (count, b"after")]
            assert platform.metric("kafscale_s3_operations_total", operation="get") > 0
