"""Faults that a review of compaction found, each by what a user would have seen."""

import trio
from trio.testing import MockClock

from tests.support.owners import batch, open_owner_cluster, tp_of
from tests.support.producing import read_all
from tests.unit.services.partition_owner.compaction.support import EAGER, HookedStore, compaction


async def test_what_did_not_fit_into_a_segment_does_not_wait_for_another_age(
    autojump_clock: MockClock,
) -> None:
    """With small segments a partition fell behind, and stayed behind when nothing was written any more."""
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options={**EAGER, "compaction_age_seconds": 60.0})
        tp = tp_of(await cluster.create_topic("orders", configs={"segment.bytes": "65536"}))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        values = [f"{number}" * 30_000 for number in range(10)]
        for value in values:
            await appends.append(tp, epoch, batch(value))
        await trio.sleep(75)
        assert compaction(owner).uncompacted_bytes == 0
        assert await read_all(owner, tp) == values
