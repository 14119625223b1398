"""What a hand-over must not leave behind: faults found by review, kept as regressions."""

import trio
from trio.testing import MockClock

from libs.model.ids import TopicPartition
from tests.support.owners import RunningOwner, batch, open_owner_cluster, tp_of
from tests.support.scripted_store import ScriptedStore


async def wait_owner(owner: RunningOwner, tp: TopicPartition, name: str) -> None:
    with trio.fail_after(60):
        await owner.watcher.wait_until(lambda view: view.assignments[tp].owner_id == name)


async def test_a_release_names_no_object_that_may_never_land(autojump_clock: MockClock) -> None:
    """Objects of other partitions were in flight when it was sent, and died with the owner."""
    store = ScriptedStore()
    store.holding = False
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders", 2)
        moving, staying = tp_of(topic, 0), tp_of(topic, 1)
        first, epoch = await cluster.wait_open(moving)
        _, staying_epoch = await cluster.wait_open(staying)
        appends = await cluster.appends(first)
        assert await appends.append(moving, epoch, batch("x")) == 0
        store.holding = True
        appends.send(staying, staying_epoch, batch("lost"))
        await store.wait_puts(1)
        await cluster.start("b")
        await first.service.control().drain([moving], all_assigned=False, reason="test", deadline_seconds=5)
        await wait_owner(first, moving, "b")
        await first.kill()
        store.holding = False
        with trio.fail_after(60):
            second, next_epoch = await cluster.wait_open(moving)
        appends = await cluster.appends(second)
        assert await appends.append(moving, next_epoch, batch("y")) == 1
