"""A gateway with two fake owners, a fake group coordinator and a topic, for tests of handlers."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.services.gateway.cluster import Served, open_served
from tests.unit.services.gateway.fake_groups import FakeGroups


@pytest.fixture
def groups() -> FakeGroups:
    return FakeGroups()


@pytest.fixture
async def served(groups: FakeGroups) -> AsyncIterator[Served]:
    async with open_served(owners=2, groups=groups) as running:
        running.cluster.metadata.create("orders", 2)
        await running.cluster.wait_seen()
        yield running
