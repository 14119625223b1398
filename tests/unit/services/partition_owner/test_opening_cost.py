"""What opening costs on a store that takes 30 ms for everything: in the time of a mock clock."""

import pytest
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.objectstore.memory import MemoryObjectStore
from services.partition_owner.list_offsets import EARLIEST, LATEST
from tests.support.backlog import COMPACTED_END, Backlog, dead_owner, wait_open
from tests.support.owners import EPOCH_MS, OwnerCluster, list_offset

GET_SECONDS = 0.03
PUTS_PER_SECOND = 20


def in_memory() -> MemoryObjectStore:
    return MemoryObjectStore(LoopClock(EPOCH_MS))


async def check_ends(cluster: OwnerCluster, backlog: Backlog) -> None:
    """All that the chain holds is there."""
    for owner in cluster.owners.values():
        for tp in list(owner.statuses())[::100]:
            assert (await list_offset(owner, tp, EARLIEST)).offset == COMPACTED_END
            assert (await list_offset(owner, tp, LATEST)).offset == backlog.end(tp)


@pytest.mark.parametrize(
    ("objects", "indexes", "seconds_max"),
    [(600 * PUTS_PER_SECOND, True, 0.3), (600, False, 1.0)],
    ids=["ten minutes", "half a minute without an index"],
)
async def test_a_backlog(
    autojump_clock: MockClock, objects: int, seconds_max: float, *, indexes: bool
) -> None:
    """Ten minutes is the longest that an active partition goes without being compacted.

    0.3 s leaves most of the promised second for computing; it takes reading indexes while the end is sought.
    """
    async with dead_owner(in_memory(), 1, delay_seconds=GET_SECONDS) as (cluster, backlog, store):
        await backlog.write(objects, indexes=indexes)
        await cluster.start("next", store=store)
        seconds = await wait_open(cluster, backlog.tps)
        await check_ends(cluster, backlog)
        assert seconds < seconds_max


async def test_a_thousand_partitions_of_a_dead_owner(autojump_clock: MockClock) -> None:
    async with dead_owner(in_memory(), 1000, delay_seconds=GET_SECONDS) as (cluster, backlog, store):
        await backlog.write(330, each_in=10)
        for name in ("b", "c"):
            await cluster.start(name, store=store)
        seconds = await wait_open(cluster, backlog.tps)
        await check_ends(cluster, backlog)
        assert seconds < 10.0
