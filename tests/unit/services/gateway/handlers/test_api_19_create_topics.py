"""CreateTopics."""

from datetime import timedelta
from typing import Any

import pytest
from kio.schema.errors import ErrorCode

from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served


def topic(name: str, partitions: int = 3, factor: int = 3, **more: Any) -> dict[str, Any]:
    return {"name": name, "num_partitions": partitions, "replication_factor": factor, **more}


def values(*topics: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"topics": topics, "timeout": timedelta(seconds=5), **more}


@pytest.mark.parametrize("version", [2, 5, 7])
async def test_created_and_shown_at_once(served: Served, version: int) -> None:
    config = {"name": "retention.ms", "value": "1000"}
    async with connected(served.port) as client:
        answer = await client.ask(19, version, values(topic("fresh", configs=[config])))
        shown = await client.ask(3, 9, {"topics": [{"name": "fresh"}], "allow_auto_topic_creation": False})
    (created,) = answer.topics
    assert (created.name, created.error_code) == ("fresh", ErrorCode.none)
    assert len(shown.topics[0].partitions) == 3
    if version >= 5:
        assert (created.num_partitions, created.replication_factor) == (3, 1)
        configs = {each.name: (each.value, each.config_source) for each in created.configs}
        assert configs["retention.ms"] == ("1000", 1)
        assert configs["cleanup.policy"] == ("delete", 5)
    if version >= 7:
        assert created.topic_id == served.cluster.metadata.topics["fresh"].topic_id  # type: ignore[index]


async def test_each_topic_has_its_own_answer(served: Served) -> None:
    manual = [{"partition_index": index, "broker_ids": (1,)} for index in (0, 1)]
    holes = [{"partition_index": index, "broker_ids": (1,)} for index in (0, 2)]
    topics = (
        topic("a/b"),
        topic("orders"),
        topic("none", 0),
        topic("many", 100_000),
        topic("zero", 1, 0),
        topic("twice"),
        topic("twice"),
        topic("by-hand", -1, -1, assignments=manual),
        topic("holes", -1, -1, assignments=holes),
        topic("setting", configs=[{"name": "bad.setting", "value": "1"}]),
        topic("null", configs=[{"name": "retention.ms", "value": None}]),
        topic("default", -1, -1),
    )
    async with connected(served.port) as client:
        answer = await client.ask(19, 7, values(*topics))
    found = {each.name: each for each in answer.topics}
    assert {name: each.error_code for name, each in found.items()} == {
        "a/b": ErrorCode.invalid_topic_exception,
        "orders": ErrorCode.topic_already_exists,
        "none": ErrorCode.invalid_partitions,
        "many": ErrorCode.invalid_partitions,
        "zero": ErrorCode.invalid_replication_factor,
        "twice": ErrorCode.invalid_request,
        "by-hand": ErrorCode.none,
        "holes": ErrorCode.invalid_replica_assignment,
        "setting": ErrorCode.invalid_config,
        "null": ErrorCode.invalid_config,
        "default": ErrorCode.none,
    }
    assert found["by-hand"].num_partitions == 2
    assert all(each.error_message for each in answer.topics if each.error_code is not ErrorCode.none)


async def test_only_checked_where_that_is_asked(served: Served) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(19, 7, values(topic("fresh"), validate_only=True))
    assert (answer.topics[0].error_code, answer.topics[0].num_partitions) == (ErrorCode.none, 3)
    assert "fresh" not in served.cluster.metadata.topics


async def test_metadata_away(served: Served) -> None:
    served.cluster.metadata.unavailable = True
    async with connected(served.port) as client:
        answer = await client.ask(19, 7, values(topic("fresh")))
    assert answer.topics[0].error_code is ErrorCode.request_timed_out
