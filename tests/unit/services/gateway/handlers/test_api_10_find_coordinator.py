"""FindCoordinator: a gateway, the same from all of them."""

from kio.schema.errors import ErrorCode

from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served


async def test_the_only_gateway_names_itself(served: Served) -> None:
    async with connected(served.port) as client:
        oldest = await client.ask(10, 0, {"key": "g"})
        newest = await client.ask(10, 6, {"key_type": 0, "coordinator_keys": ("g", "h")})
    assert (oldest.error_code, oldest.node_id, oldest.port) == (ErrorCode.none, 1, served.port)
    assert [(each.key, each.node_id, each.host, each.port) for each in newest.coordinators] == [
        ("g", 1, "127.0.0.1", served.port),
        ("h", 1, "127.0.0.1", served.port),
    ]


async def test_what_has_no_coordinator(served: Served) -> None:
    async with connected(served.port) as client:
        transaction = await client.ask(10, 3, {"key": "t", "key_type": 1})
        share = await client.ask(10, 6, {"key_type": 2, "coordinator_keys": ("s",)})
    assert transaction.error_code is ErrorCode.transactional_id_authorization_failed
    assert not transaction.error_code.retriable
    assert share.coordinators[0].error_code is ErrorCode.invalid_request
