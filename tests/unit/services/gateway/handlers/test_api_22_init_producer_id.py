"""InitProducerId."""

import pytest
from kio.schema.errors import ErrorCode

from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served


@pytest.mark.parametrize("version", range(6))
async def test_each_producer_gets_its_own(served: Served, version: int) -> None:
    async with connected(served.port) as client:
        answers = [await client.ask(22, version, {"transactional_id": None}) for _ in range(150)]
    assert {(each.error_code, each.producer_epoch) for each in answers} == {(ErrorCode.none, 0)}
    assert [each.producer_id for each in answers] == list(range(1000, 1150))


async def test_transactions_and_metadata_away(served: Served) -> None:
    served.cluster.metadata.unavailable = True
    async with connected(served.port) as client:
        transactional = await client.ask(22, 4, {"transactional_id": "t"})
        away = await client.ask(22, 4, {"transactional_id": None})
    assert transactional.error_code is ErrorCode.transactional_id_authorization_failed
    assert away.error_code.retriable
    assert (away.producer_id, away.producer_epoch) == (-1, -1)
