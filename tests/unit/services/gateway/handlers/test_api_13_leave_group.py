"""LeaveGroup, of one member and of several."""

import pytest
from kio.schema.errors import ErrorCode

from libs.model.errors import Unavailable
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_groups import FakeGroups


@pytest.mark.parametrize("version", [0, 2])
async def test_one_member(served: Served, groups: FakeGroups, version: int) -> None:
    async with connected(served.port) as client:
        good = await client.ask(13, version, {"group_id": "g", "member_id": "m"})
        bad = await client.ask(13, version, {"group_id": "g", "member_id": "unknown"})
    assert (good.error_code, bad.error_code) == (ErrorCode.none, ErrorCode.unknown_member_id)
    assert groups.asked[0].members[0].member_id == "m"


@pytest.mark.parametrize("version", [3, 5])
async def test_several_members(served: Served, groups: FakeGroups, version: int) -> None:
    members = [
        {"member_id": "m", "group_instance_id": "static", "reason": "tired"},
        {"member_id": "unknown", "group_instance_id": None},
    ]
    async with connected(served.port) as client:
        answer = await client.ask(13, version, {"group_id": "g", "members": members})
        groups.error = Unavailable("")
        away = await client.ask(13, version, {"group_id": "g", "members": members})
    assert answer.error_code is ErrorCode.none
    assert [(each.member_id, each.group_instance_id, each.error_code) for each in answer.members] == [
        ("m", "static", ErrorCode.none),
        ("unknown", None, ErrorCode.unknown_member_id),
    ]
    assert groups.asked[0].members[0].reason == ("tired" if version >= 5 else "")
    assert away.error_code is ErrorCode.coordinator_not_available
