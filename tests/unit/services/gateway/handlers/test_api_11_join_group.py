"""JoinGroup."""

from datetime import timedelta
from typing import Any

import pytest
from kio.schema.errors import ErrorCode

from libs.model.errors import Invalid, Reason
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_groups import METADATA, FakeGroups


def values(**more: Any) -> dict[str, Any]:
    return {
        "group_id": "g",
        "session_timeout": timedelta(seconds=10),
        "rebalance_timeout": timedelta(seconds=60),
        "member_id": "member-1",
        "group_instance_id": "static",
        "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": METADATA}],
        "reason": "because",
        **more,
    }


@pytest.mark.parametrize("version", [0, 1, 4, 5, 8, 9])
async def test_what_reaches_the_coordinator(served: Served, groups: FakeGroups, version: int) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(11, version, values())
    (asked,) = groups.asked
    assert (asked.group, asked.member_id, asked.protocol_type) == ("g", "member-1", "consumer")
    assert (asked.protocols[0].name, asked.protocols[0].metadata) == ("range", METADATA)
    assert asked.session_timeout_ms == 10_000
    assert asked.rebalance_timeout_ms == (60_000 if version >= 1 else 10_000)
    assert asked.group_instance_id == ("static" if version >= 5 else None)
    assert asked.require_known_member_id == (version >= 4)
    assert asked.supports_skip_assignment == (version >= 9)
    assert asked.reason == ("because" if version >= 8 else "")
    assert (asked.client_id, asked.client_host) == ("test", "/127.0.0.1")
    assert (answer.error_code, answer.generation_id) == (ErrorCode.none, 3)
    assert (answer.leader, answer.member_id, answer.protocol_name) == ("member-1", "member-1", "range")
    assert answer.members[0].metadata == METADATA


@pytest.mark.parametrize("version", [4, 7, 9])
async def test_a_new_member_is_told_its_id(served: Served, version: int) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(11, version, values(member_id=""))
    assert (answer.error_code, answer.member_id) == (ErrorCode.member_id_required, "member-1")


@pytest.mark.parametrize("version", [0, 6, 7, 9])
async def test_errors(served: Served, groups: FakeGroups, version: int) -> None:
    groups.error = Invalid("", reason=Reason.INCONSISTENT_GROUP_PROTOCOL)
    async with connected(served.port) as client:
        answer = await client.ask(11, version, values())
        nobody = await client.ask(11, version, values(group_id=""))
    assert answer.error_code is ErrorCode.inconsistent_group_protocol
    assert answer.generation_id == -1
    assert nobody.error_code is ErrorCode.invalid_group_id
