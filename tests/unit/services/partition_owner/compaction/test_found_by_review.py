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


async def test_who_is_far_behind_does_not_keep_the_others_waiting(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options={**EAGER, "compaction_age_seconds": 60.0, "compactions_max": 1})
        configs = {"segment.bytes": "65536"}
        busy = tp_of(await cluster.create_topic("busy", configs=configs))
        quiet = tp_of(await cluster.create_topic("quiet"))
        owner, epoch = await cluster.wait_open(quiet)
        _, busy_epoch = await cluster.wait_open(busy)
        appends = await cluster.appends(owner)
        for _ in range(3):
            await appends.append(busy, busy_epoch, batch("x" * 60_000))
        await trio.sleep(20)
        await appends.append(quiet, epoch, batch("q"))
        store = cluster.store
        assert isinstance(store, HookedStore)

        async def append_more(key: str) -> None:
            if key.endswith(".kfm") and "busy" in key:
                await trio.sleep(1)
                await appends.append(busy, busy_epoch, batch("x" * 60_000))

        store.after = append_more
        await trio.sleep(100)
        manifests = store.compacted_keys((".kfm",))
        assert any("quiet" in key for key in manifests)
        assert "busy" in manifests[-1]
