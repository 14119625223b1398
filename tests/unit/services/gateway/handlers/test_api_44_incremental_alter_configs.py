"""IncrementalAlterConfigs: configs of topics are set and unset, all else is refused in plain words."""

from typing import Any

import pytest
from kio.schema.errors import ErrorCode

from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served

SET, DELETE, APPEND, SUBTRACT = range(4)
TOPIC, BROKER, GROUP = 2, 4, 32


def config(name: str, operation: int = SET, value: str | None = None) -> dict[str, Any]:
    return {"name": name, "config_operation": operation, "value": value}


def resource(name: str, *configs: dict[str, Any], kind: int = TOPIC) -> dict[str, Any]:
    return {"resource_type": kind, "resource_name": name, "configs": configs}


@pytest.mark.parametrize("version", [0, 1])
async def test_set_and_unset_and_described_so_at_once(served: Served, version: int) -> None:
    served.cluster.metadata.create("events", 1, retention_ms="5", flush_ms="6")
    await served.cluster.wait_seen()
    changes = (
        config("segment.ms", SET, "7"),
        config("flush.ms", DELETE),
        config("retention.bytes", DELETE),
    )
    async with connected(served.port) as client:
        answer = await client.ask(44, version, {"resources": [resource("events", *changes)]})
        described = await client.ask(
            32,
            4,
            {"resources": [{"resource_type": TOPIC, "resource_name": "events", "configuration_keys": None}]},
        )
    (altered,) = answer.responses
    assert (altered.resource_type, altered.resource_name) == (TOPIC, "events")
    assert (altered.error_code, altered.error_message) == (ErrorCode.none, None)
    own = {each.name: each.value for each in described.results[0].configs if each.config_source == 1}
    assert own == {"retention.ms": "5", "segment.ms": "7"}


async def test_each_resource_has_its_own_answer(served: Served) -> None:
    served.cluster.metadata.create("twice")
    await served.cluster.wait_seen()
    before = dict(served.cluster.metadata.topics)
    resources = (
        resource("1", config("message.max.bytes", SET, "1"), kind=BROKER),
        resource("workers", config("consumer.session.timeout.ms", SET, "1"), kind=GROUP),
        resource("nowhere", config("flush.ms", SET, "1")),
        resource("a/b", config("flush.ms", SET, "1")),
        resource("twice", config("flush.ms", SET, "1")),
        resource("twice", config("flush.ms", SET, "2")),
    )
    async with connected(served.port) as client:
        answer = await client.ask(44, 1, {"resources": resources})
    assert [each.error_code for each in answer.responses] == [
        ErrorCode.invalid_request,
        ErrorCode.invalid_request,
        ErrorCode.unknown_topic_or_partition,
        ErrorCode.invalid_topic_exception,
        ErrorCode.invalid_request,
        ErrorCode.invalid_request,
    ]
    assert all(each.error_message for each in answer.responses)
    assert served.cluster.metadata.topics == before


@pytest.mark.parametrize(
    ("configs", "code", "says"),
    [
        ([config("no.such", SET, "1")], ErrorCode.invalid_config, "no.such"),
        ([config("flush.ms", SET, "soon")], ErrorCode.invalid_config, "whole number"),
        ([config("flush.ms", SET, None)], ErrorCode.invalid_request, "no value"),
        ([config("cleanup.policy", APPEND, "compact")], ErrorCode.invalid_config, "APPEND is not served"),
        ([config("cleanup.policy", SUBTRACT, "delete")], ErrorCode.invalid_config, "SUBTRACT is not served"),
        ([config("flush.ms", 9, "1")], ErrorCode.invalid_config, "operation 9 is not served"),
        (
            [config("flush.ms", SET, "1"), config("flush.ms", DELETE)],
            ErrorCode.invalid_request,
            "more than once",
        ),
    ],
)
async def test_what_is_wrong_changes_nothing(
    served: Served, configs: list[dict[str, Any]], code: ErrorCode, says: str
) -> None:
    good = config("retention.ms", SET, "5")
    async with connected(served.port) as client:
        answer = await client.ask(44, 1, {"resources": [resource("orders", good, *configs)]})
    assert answer.responses[0].error_code is code
    assert says in answer.responses[0].error_message
    (topic,) = served.cluster.metadata.topics.values()
    assert topic.configs == {}


async def test_only_checked_where_that_is_asked(served: Served) -> None:
    good, bad = resource("orders", config("flush.ms", SET, "5")), resource("none", config("flush.ms"))
    async with connected(served.port) as client:
        answer = await client.ask(44, 1, {"resources": [good, bad], "validate_only": True})
    assert [each.error_code for each in answer.responses] == [ErrorCode.none, ErrorCode.invalid_request]
    (topic,) = served.cluster.metadata.topics.values()
    assert topic.configs == {}


async def test_metadata_away(served: Served) -> None:
    served.cluster.metadata.unavailable = True
    async with connected(served.port) as client:
        answer = await client.ask(44, 1, {"resources": [resource("orders", config("flush.ms", DELETE))]})
    assert answer.responses[0].error_code is ErrorCode.request_timed_out
