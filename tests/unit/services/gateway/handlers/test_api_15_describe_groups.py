"""DescribeGroups."""

import pytest
from kio.schema.errors import ErrorCode

from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_groups import ASSIGNMENT, METADATA


@pytest.mark.parametrize("version", [0, 4, 5, 6])
async def test_members_and_groups_that_are_not_there(served: Served, version: int) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(15, version, {"groups": ("g", "nobody")})
    stable, missing = answer.groups
    assert (stable.error_code, stable.group_state) == (ErrorCode.none, "Stable")
    assert (stable.protocol_type, stable.protocol_data) == ("consumer", "range")
    (member,) = stable.members
    assert (member.member_metadata, member.member_assignment) == (METADATA, ASSIGNMENT)
    assert (member.client_id, member.client_host) == ("c", "/127.0.0.1")
    assert (missing.group_state, missing.members) == ("Dead", ())
    assert missing.error_code is (ErrorCode.group_id_not_found if version >= 6 else ErrorCode.none)
