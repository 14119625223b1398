"""DescribeConfigs."""

from typing import Any

import pytest
from kio.schema.errors import ErrorCode

from services.gateway.handlers.api_32_describe_configs import DEFAULT, OF_BROKER, OF_TOPIC
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served, open_served


def resource(kind: int, name: str, keys: tuple[str, ...] | None = None) -> dict[str, Any]:
    return {"resource_type": kind, "resource_name": name, "configuration_keys": keys}


@pytest.mark.parametrize("version", range(1, 5))
async def test_a_topic(served: Served, version: int) -> None:
    served.cluster.metadata.create("short", 1, retention_ms="5")
    await served.cluster.wait_seen()
    async with connected(served.port) as client:
        answer = await client.ask(
            32,
            version,
            {
                "resources": [resource(2, "short"), resource(2, "short", ("cleanup.policy",))],
                "include_synonyms": True,
                "include_documentation": True,
            },
        )
    everything, one = answer.results
    found = {each.name: each for each in everything.configs}
    assert (found["retention.ms"].value, found["retention.ms"].config_source) == ("5", 1)
    assert [each.value for each in found["retention.ms"].synonyms] == ["5", "604800000"]
    assert (found["cleanup.policy"].value, found["cleanup.policy"].config_source) == ("delete", 5)
    if version >= 3:
        assert (found["retention.ms"].config_type, found["cleanup.policy"].config_type) == (5, 7)
        assert found["retention.ms"].documentation
    assert [each.name for each in one.configs] == ["cleanup.policy"]


async def test_where_the_platform_has_a_default_of_its_own() -> None:
    async with open_served(default_retention_ms=3_600_000) as served:
        served.cluster.metadata.create("short", 1, retention_ms="5")
        served.cluster.metadata.create("silent", 1)
        await served.cluster.wait_seen()
        async with connected(served.port) as client:
            resources = [resource(2, "short"), resource(2, "silent"), resource(4, "1")]
            answer = await client.ask(32, 4, {"resources": resources, "include_synonyms": True})
    short, silent, broker = ({each.name: each for each in one.configs} for one in answer.results)
    assert (silent["retention.ms"].value, silent["retention.ms"].config_source) == ("3600000", OF_BROKER)
    synonyms = [(each.name, each.value, each.source) for each in short["retention.ms"].synonyms]
    assert synonyms == [
        ("retention.ms", "5", OF_TOPIC),
        ("log.retention.ms", "3600000", OF_BROKER),
        ("retention.ms", "604800000", DEFAULT),
    ]
    assert (silent["retention.bytes"].value, silent["retention.bytes"].config_source) == ("-1", DEFAULT)
    assert (broker["log.retention.ms"].value, broker["log.retention.ms"].config_source) == (
        "3600000",
        OF_BROKER,
    )
    assert (broker["log.retention.bytes"].value, broker["log.retention.bytes"].config_source) == (
        "-1",
        DEFAULT,
    )


async def test_brokers_and_what_there_is_not(served: Served) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(
            32,
            4,
            {"resources": [resource(4, "1"), resource(4, "99"), resource(2, "nowhere"), resource(8, "1")]},
        )
    assert [each.error_code for each in answer.results] == [
        ErrorCode.none,
        ErrorCode.invalid_request,
        ErrorCode.unknown_topic_or_partition,
        ErrorCode.invalid_request,
    ]
    found = {each.name: each.value for each in answer.results[0].configs}
    assert found["auto.create.topics.enable"] == "true"
