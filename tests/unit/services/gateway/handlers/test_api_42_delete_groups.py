"""DeleteGroups."""

from kio.schema.errors import ErrorCode

from libs.model.errors import Invalid, Reason
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_groups import FakeGroups


async def test_each_group_has_its_own_answer(served: Served, groups: FakeGroups) -> None:
    async with connected(served.port) as client:
        good = await client.ask(42, 2, {"groups_names": ("g", "")})
        groups.error = Invalid("", reason=Reason.NON_EMPTY_GROUP)
        busy = await client.ask(42, 0, {"groups_names": ("g",)})
    assert [(each.group_id, each.error_code) for each in good.results] == [
        ("g", ErrorCode.none),
        ("", ErrorCode.invalid_group_id),
    ]
    assert busy.results[0].error_code is ErrorCode.non_empty_group
