"""CreatePartitions: topics grow, are shown so at once, and each has its own answer."""

from datetime import timedelta
from typing import Any

import pytest
import trio
from kio.schema.errors import ErrorCode

from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served


def topic(name: str, count: int, *assigned: int) -> dict[str, Any]:
    assignments = [{"broker_ids": (broker,)} for broker in assigned] if assigned else None
    return {"name": name, "count": count, "assignments": assignments}


def values(*topics: dict[str, Any], timeout_ms: int = 5000, validate_only: bool = False) -> dict[str, Any]:
    return {
        "topics": topics,
        "timeout": timedelta(milliseconds=timeout_ms),
        "validate_only": validate_only,
    }


@pytest.mark.parametrize("version", [0, 1, 2, 3])
async def test_grown_and_shown_at_once(served: Served, version: int) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(37, version, values(topic("orders", 5)))
        shown = await client.ask(3, 9, {"topics": [{"name": "orders"}]})
    (grown,) = answer.results
    assert (grown.name, grown.error_code, grown.error_message) == ("orders", ErrorCode.none, None)
    assert [each.partition_index for each in shown.topics[0].partitions] == [0, 1, 2, 3, 4]
    assert {each.leader_epoch for each in shown.topics[0].partitions} == {0}


async def test_each_topic_has_its_own_answer(served: Served) -> None:
    for name in ("by-hand", "holes", "same", "fewer", "twice"):
        served.cluster.metadata.create(name, 2)
    await served.cluster.wait_seen()
    topics = (
        topic("orders", 3),
        topic("by-hand", 4, 1, 1),
        topic("holes", 5, 1, 1),
        topic("same", 2),
        topic("fewer", 1),
        topic("none", 0),
        topic("negative", -1),
        topic("many", 100_000),
        topic("twice", 3),
        topic("twice", 4),
        topic("nowhere", 3),
        topic("nowhere-by-hand", 3, 1),
        topic("a/b", 3),
    )
    async with connected(served.port) as client:
        answer = await client.ask(37, 3, values(*topics))
    assert [each.name for each in answer.results] == [each["name"] for each in topics]
    assert {each.name: each.error_code for each in answer.results} == {
        "orders": ErrorCode.none,
        "by-hand": ErrorCode.none,
        "holes": ErrorCode.invalid_replica_assignment,
        "same": ErrorCode.invalid_partitions,
        "fewer": ErrorCode.invalid_partitions,
        "none": ErrorCode.invalid_partitions,
        "negative": ErrorCode.invalid_partitions,
        "many": ErrorCode.invalid_partitions,
        "twice": ErrorCode.invalid_request,
        "nowhere": ErrorCode.unknown_topic_or_partition,
        "nowhere-by-hand": ErrorCode.unknown_topic_or_partition,
        "a/b": ErrorCode.invalid_topic_exception,
    }
    told = {each.name: each.error_message for each in answer.results if each.error_message}
    assert "has 2 partitions already" in told["same"]
    assert "has 2 partitions and can't have 1" in told["fewer"]
    assert {name: each.partitions for name, each in served.cluster.metadata.topics.items()} == {
        "orders": 3,
        "by-hand": 4,
        "holes": 2,
        "same": 2,
        "fewer": 2,
        "twice": 2,
    }


async def test_only_checked_where_that_is_asked(served: Served) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(37, 3, values(topic("orders", 9), topic("nowhere", 9), validate_only=True))
    assert [each.error_code for each in answer.results] == [
        ErrorCode.none,
        ErrorCode.unknown_topic_or_partition,
    ]
    assert [each.partitions for each in served.cluster.metadata.topics.values()] == [2]


async def test_metadata_away(served: Served) -> None:
    served.cluster.metadata.unavailable = True
    async with connected(served.port) as client:
        answer = await client.ask(37, 3, values(topic("orders", 3)))
    assert answer.results[0].error_code is ErrorCode.request_timed_out


async def test_an_answer_comes_in_time_whatever_happens(served: Served) -> None:
    served.cluster.metadata.hold_updates = trio.Event()
    async with connected(served.port) as client:
        with trio.fail_after(3):
            answer = await client.ask(37, 3, values(topic("orders", 3), timeout_ms=100))
    assert answer.results[0].error_code is ErrorCode.request_timed_out
