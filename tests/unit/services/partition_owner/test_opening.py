"""What opening a partition must get right: faults found by review, kept as regressions."""

import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.model.ids import TopicName
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import chain_object_key
from services.metadata import keys
from services.metadata.kv.port import Delete, Put
from tests.support.owners import EPOCH_MS, OwnerCluster, batch, open_owner_cluster, tp_of
from tests.support.producing import read_all


async def hide_topic(cluster: OwnerCluster, name: str) -> None:
    """Somebody deletes the topic's key in the store by hand, and puts it back."""
    kv = cluster.metadata.kv
    item = await kv.get(keys.topic(TopicName(name)))
    assert item is not None
    await kv.txn([], [Delete(key=item.key)])
    await trio.sleep(1.0)
    await kv.txn([], [Put(key=item.key, value=item.value)])
    await trio.sleep(1.0)


async def test_an_epoch_that_is_opened_again_keeps_what_it_appended(autojump_clock: MockClock) -> None:
    """Else its offsets would be given twice: two values of one offset."""
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), ["a"]) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("x", producer=(7, 0, 0))) == 0
        await hide_topic(cluster, "orders")
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("x", producer=(7, 0, 0))) == 0
        assert await appends.append(tp, epoch, batch("y", producer=(7, 0, 1))) == 1
        assert await read_all(owner, tp) == ["x", "y"]
        await owner.kill()
        await cluster.start("b")
        owner, _ = await cluster.wait_open(tp)
        assert await read_all(owner, tp) == ["x", "y"]


async def test_a_damaged_partition_does_not_keep_others_from_being_opened(autojump_clock: MockClock) -> None:
    """It is tried again for ever; a place among those that open at the same time is not its own."""
    store = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with open_owner_cluster(store, ["a"]) as cluster:
        damaged = tp_of(await cluster.create_topic("damaged"))
        owner, epoch = await cluster.wait_open(damaged)
        appends = await cluster.appends(owner)
        await appends.append(damaged, epoch, batch("x"))
        session = owner.session
        await owner.kill()
        await store.put(chain_object_key(session, 0), b"rubbish")
        await cluster.start("b", options={"openings_max": 1})
        await trio.sleep(30)
        later = tp_of(await cluster.create_topic("later"))
        with trio.fail_after(30):
            owner, epoch = await cluster.wait_open(later)
        appends = await cluster.appends(owner)
        assert await appends.append(later, epoch, batch("y")) == 0
