"""ListGroups and its filters."""

import pytest
from kio.schema.errors import ErrorCode

from libs.model.errors import Unavailable
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_groups import FakeGroups


@pytest.mark.parametrize("version", range(6))
async def test_all(served: Served, version: int) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(16, version)
    assert [(each.group_id, each.protocol_type) for each in answer.groups] == [("a", "consumer"), ("b", "")]
    if version >= 5:
        assert {each.group_type for each in answer.groups} == {"classic"}


async def test_filters(served: Served, groups: FakeGroups) -> None:
    async with connected(served.port) as client:
        stable = await client.ask(16, 4, {"states_filter": ("stable",)})
        classic = await client.ask(16, 5, {"types_filter": ("Classic",)})
        other = await client.ask(16, 5, {"types_filter": ("consumer",)})
        groups.error = Unavailable("")
        away = await client.ask(16, 5)
    assert [each.group_id for each in stable.groups] == ["a"]
    assert [each.group_id for each in classic.groups] == ["a", "b"]
    assert other.groups == ()
    assert away.error_code is ErrorCode.coordinator_not_available
