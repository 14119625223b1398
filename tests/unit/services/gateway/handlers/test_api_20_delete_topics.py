"""DeleteTopics, by name and by id."""

import pytest
from kio.schema.errors import ErrorCode

from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served


@pytest.mark.parametrize("version", [1, 5])
async def test_by_name(served: Served, version: int) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(20, version, {"topic_names": ("orders", "nowhere")})
        shown = await client.ask(3, 9, {"topics": None})
    assert [(each.name, each.error_code) for each in answer.responses] == [
        ("orders", ErrorCode.none),
        ("nowhere", ErrorCode.unknown_topic_or_partition),
    ]
    assert shown.topics == ()


async def test_by_id_and_by_name(served: Served) -> None:
    served.cluster.metadata.create("bills", 1)
    orders = served.cluster.metadata.topics["orders"].topic_id  # type: ignore[index]
    other = served.cluster.metadata.rand.uuid()
    async with connected(served.port) as client:
        answer = await client.ask(
            20, 6, {"topics": [{"topic_id": orders}, {"name": "bills"}, {"topic_id": other}]}
        )
    first, second, third = answer.responses
    assert (first.name, first.topic_id, first.error_code) == ("orders", orders, ErrorCode.none)
    assert (second.name, second.error_code) == ("bills", ErrorCode.none)
    assert (third.topic_id, third.error_code) == (other, ErrorCode.unknown_topic_id)
    assert not served.cluster.metadata.topics


async def test_metadata_away(served: Served) -> None:
    served.cluster.metadata.unavailable = True
    async with connected(served.port) as client:
        answer = await client.ask(20, 5, {"topic_names": ("orders",)})
    assert answer.responses[0].error_code is ErrorCode.request_timed_out
