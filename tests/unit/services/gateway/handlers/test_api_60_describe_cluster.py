"""DescribeCluster."""

import pytest
from kio.schema.errors import ErrorCode

from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served


@pytest.mark.parametrize("version", range(3))
async def test_brokers_and_id(served: Served, version: int) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(60, version, {"endpoint_type": 1})
    assert (answer.cluster_id, answer.controller_id) == ("test-cluster", 1)
    assert [(each.broker_id, each.port) for each in answer.brokers] == [(1, served.port)]


async def test_controllers_are_not_for_clients(served: Served) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(60, 1, {"endpoint_type": 2})
    assert answer.error_code is ErrorCode.unsupported_endpoint_type
