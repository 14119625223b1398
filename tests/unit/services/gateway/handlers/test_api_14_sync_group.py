"""SyncGroup: assignments go through byte for byte."""

import pytest
from kio.schema.errors import ErrorCode

from libs.model.errors import Fenced, Reason
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_groups import ASSIGNMENT, FakeGroups

ODD = bytes(range(256))
VALUES = {
    "group_id": "g",
    "generation_id": 3,
    "member_id": "m",
    "protocol_type": "consumer",
    "protocol_name": "range",
    "assignments": [{"member_id": "m", "assignment": ODD}],
}


@pytest.mark.parametrize("version", [0, 3, 5])
async def test_assignments_go_through(served: Served, groups: FakeGroups, version: int) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(14, version, VALUES)
    (asked,) = groups.asked
    assert [(each.member_id, each.assignment) for each in asked.assignments] == [("m", ODD)]
    assert (asked.generation, asked.protocol) == (3, "range" if version >= 5 else "")
    assert (answer.error_code, answer.assignment) == (ErrorCode.none, ASSIGNMENT)
    if version >= 5:
        assert (answer.protocol_type, answer.protocol_name) == ("consumer", "range")


async def test_errors(served: Served, groups: FakeGroups) -> None:
    groups.error = Fenced("", reason=Reason.FENCED_INSTANCE_ID)
    async with connected(served.port) as client:
        answer = await client.ask(14, 5, VALUES)
    assert (answer.error_code, answer.assignment) == (ErrorCode.fenced_instance_id, b"")
