"""Accepting up to a bound, and stopping."""

import resource
from datetime import timedelta

import pytest
import trio
from structlog.testing import capture_logs

from services.gateway import listener
from tests.unit.services.gateway.client import batch, connected
from tests.unit.services.gateway.cluster import open_served

FETCH = {
    "max_wait": timedelta(seconds=0.5),
    "min_bytes": 1,
    "max_bytes": 1000,
    "topics": [{"topic": "orders", "partitions": [{"partition_max_bytes": 10}]}],
}


async def test_beyond_the_bound_connections_are_closed_at_once() -> None:
    async with open_served(connections_max=2) as served:
        async with connected(served.port) as first, connected(served.port) as second:
            await first.ask(18, 0)
            await second.ask(18, 0)
            async with connected(served.port) as third:
                with trio.fail_after(5):
                    assert await third.receive_frame() is None
            await first.ask(18, 0)
            assert served.gateway.statistics().connections_refused == 1
        async with connected(served.port) as fourth:
            await fourth.ask(18, 0)


async def test_a_drain_answers_what_was_asked_and_takes_no_more() -> None:
    async with open_served() as served:
        served.cluster.metadata.create("orders")
        await served.cluster.wait_seen()
        owner = served.cluster.owners[0]
        async with connected(served.port) as busy, connected(served.port) as idle:
            await idle.ask(18, 0)
            await busy.send(1, 12, FETCH)
            await owner.wait(lambda: owner.fetches == 1)
            with trio.fail_after(5):
                await served.gateway.drain(trio.current_time() + 4)
            await busy.receive()
            assert await busy.receive_frame() is None
            assert await idle.receive_frame() is None
        assert served.gateway.statistics().connections == 0


async def test_a_drain_has_an_end() -> None:
    async with open_served() as served:
        served.cluster.metadata.create("orders")
        await served.cluster.wait_seen()
        owner = served.cluster.owners[0]
        owner.hold = trio.Event()
        async with connected(served.port) as client:
            part = {"index": 0, "records": batch(b"a")}
            topic = {"name": "orders", "partition_data": [part]}
            await client.send(0, 9, {"acks": 1, "topic_data": [topic]})
            await owner.wait(lambda: owner.received == 1)
            with trio.fail_after(5):
                await served.gateway.drain(trio.current_time() + 0.1)
                assert await client.receive_frame() is None


async def test_idle_connections_cost_little() -> None:
    """Thousands that send nothing must be no burden; a few hundred tell what each costs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    async with open_served() as served:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        streams = [await trio.open_tcp_stream("127.0.0.1", served.port) for _ in range(400)]
        async with connected(served.port) as client:
            await client.ask(18, 0)
        assert served.gateway.statistics().connections >= 400
        each_kib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 400
        for stream in streams:
            await trio.aclose_forcefully(stream)
        # Both ends are in this process.
        assert each_kib < 60
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_bound_leaves_room_for_what_else_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "open_files_max", lambda: 300)
    with capture_logs() as logs:
        async with open_served(connections_max=500) as served:
            assert served.gateway.statistics().connections_max == 44
    assert [each["connections_max"] for each in logs if each["event"] == "connections_bound_lowered"] == [44]
