"""What produce and fetch cost inside: messages on streams that are up, and no call to metadata."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.telemetry.spans import RecordedSpans, recording_spans
from tests.support.kafka_session import KafkaSession, batch, open_session
from tests.support.standalone import Standalone, open_standalone

APPEND, FETCH = "/kafscale.owner.PartitionOwner/Append", "/kafscale.owner.PartitionOwner/Fetch"


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Standalone]:
    async with open_standalone(tmp_path) as opened:
        yield opened


@pytest.fixture
async def client(platform: Standalone) -> AsyncIterator[KafkaSession]:
    async with open_session(platform.kafka_port) as opened:
        await opened.create_topic("orders", partitions=3)
        await opened.produce("orders", b"first")
        await opened.fetch("orders", 0)
        yield opened


async def test_there_is_one_append_stream_and_one_fetch_stream(
    platform: Standalone, client: KafkaSession
) -> None:
    await client.produce("orders", b"second")
    calls = platform.calls_started()
    assert (calls[APPEND], calls[FETCH]) == (1, 1)


@pytest.mark.parametrize("count", [1, 50])
async def test_produces_make_no_call(platform: Standalone, client: KafkaSession, count: int) -> None:
    before, appends_before = platform.calls_started(), platform.metric("kafscale_owner_appends_total")
    for number in range(count):
        await client.produce("orders", b"%d" % number)
    assert without_lease(platform.calls_started()) == without_lease(before)
    assert platform.metric("kafscale_owner_appends_total") - appends_before == count


@pytest.mark.parametrize("count", [1, 50])
async def test_fetches_make_no_call(platform: Standalone, client: KafkaSession, count: int) -> None:
    before, fetches_before = platform.calls_started(), platform.metric("kafscale_owner_fetches_total")
    for _ in range(count):
        assert await client.fetch("orders", 0) == [(0, b"first")]
    assert without_lease(platform.calls_started()) == without_lease(before)
    assert platform.metric("kafscale_owner_fetches_total") - fetches_before == count


async def test_one_request_is_one_message_and_one_put_whatever_partitions_it_has(tmp_path: Path) -> None:
    with recording_spans() as recorded:
        async with open_standalone(tmp_path) as platform, open_session(platform.kafka_port) as client:
            await client.create_topic("orders", partitions=3)
            await client.produce("orders", b"first")
            before = _counted(recorded)
            await client.send("orders", {index: batch([b"x", b"y"]) for index in range(3)})
            offsets = await client.acknowledged()
            counted = [after - earlier for after, earlier in zip(_counted(recorded), before, strict=True)]
    assert offsets == [1, 0, 0]
    assert counted == [1, 1, 1]


async def test_what_is_sent_together_becomes_durable_together(
    platform: Standalone, client: KafkaSession
) -> None:
    puts_before = platform.metric("kafscale_chain_puts_total")
    for number in range(50):
        await client.send("orders", {0: batch([b"%d" % number])})
    offsets = [await client.acknowledged() for _ in range(50)]
    assert offsets == [[number] for number in range(1, 51)]
    assert platform.metric("kafscale_chain_puts_total") - puts_before < 25


def without_lease(calls: dict[str, int]) -> dict[str, int]:
    """Leases are renewed by the clock, whatever clients do."""
    return {path: count for path, count in calls.items() if not path.endswith("/KeepAlive")}


def _counted(recorded: RecordedSpans) -> list[int]:
    names = recorded.names()
    return [names.count(step) for step in ("owner.append", "owner.assemble", "owner.put")]
