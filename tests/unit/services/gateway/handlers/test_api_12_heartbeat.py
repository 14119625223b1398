"""Heartbeat."""

import pytest
from kio.schema.errors import ErrorCode

from libs.model.errors import Fenced, NotFound, Reason
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_groups import FakeGroups

VALUES = {"group_id": "g", "generation_id": 3, "member_id": "m", "group_instance_id": "static"}


@pytest.mark.parametrize("version", [0, 3, 4])
async def test_reaches_the_coordinator(served: Served, groups: FakeGroups, version: int) -> None:
    async with connected(served.port) as client:
        assert (await client.ask(12, version, VALUES)).error_code is ErrorCode.none
    (asked,) = groups.asked
    assert (asked.group, asked.member_id, asked.generation) == ("g", "m", 3)
    assert asked.group_instance_id == ("static" if version >= 3 else None)


async def test_tells_of_a_rebalance(served: Served, groups: FakeGroups) -> None:
    async with connected(served.port) as client:
        groups.error = Fenced("", reason=Reason.REBALANCE_IN_PROGRESS)
        assert (await client.ask(12, 4, VALUES)).error_code is ErrorCode.rebalance_in_progress
        groups.error = NotFound("", reason=Reason.UNKNOWN_MEMBER_ID)
        assert (await client.ask(12, 4, VALUES)).error_code is ErrorCode.unknown_member_id
