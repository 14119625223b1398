"""What the owner's collector does and when: dropped objects after their delay, errors tried again later."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import Invalid
from libs.model.ids import OwnerId, Partition, TopicId, TopicPartition
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import LIST_LIMIT_MAX
from services.partition_owner.collection.decide import Allowed, Deletable
from services.partition_owner.collection.deleter import Deleter
from services.partition_owner.collection.service import Collection
from services.partition_owner.compaction.dropped import DroppedObjects
from services.partition_owner.config import OwnerOptions
from services.partition_owner.registry import Registry
from services.partition_owner.sealing import Sealer
from tests.support.owners import EPOCH_MS, open_owner_cluster

TP = TopicPartition(TopicId(UUID(int=1)), Partition(0))


class Refusing(MemoryObjectStore):
    """Refuses the first deletes; counts the keys of each."""

    def __init__(self, refusals: int = 0) -> None:
        super().__init__(LoopClock(EPOCH_MS))
        self.refusals = refusals
        self.batches: list[int] = []

    async def delete(self, keys: Sequence[str]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Invalid("access denied")
        self.batches.append(len(keys))
        await super().delete(keys)


async def test_deletes_go_in_batches_and_are_counted() -> None:
    store = Refusing()
    deleter = Deleter(store, rand=SeededRand(1))
    garbage = [Deletable(key=f"k{n}", size_bytes=3, allowed=Allowed.UNNAMED) for n in range(2500)]
    await deleter.delete(garbage)
    await deleter.delete([])
    assert store.batches == [LIST_LIMIT_MAX, LIST_LIMIT_MAX, 500]
    statistics = deleter.statistics()
    assert statistics.objects == {Allowed.UNNAMED: 2500}
    assert statistics.bytes == {Allowed.UNNAMED: 7500}


async def test_dropped_objects_go_after_their_delay_whatever_fails(autojump_clock: MockClock) -> None:
    store = Refusing(refusals=2)
    options = OwnerOptions(collection_check_seconds=10.0, collection_delay_seconds=100.0)
    dropped = DroppedObjects(10)
    async with open_owner_cluster(store, ["a"]) as cluster, trio.open_nursery() as nursery:
        collection = Collection(
            options,
            owner_id=OwnerId("a"),
            session=lambda: None,
            openings=lambda: None,
            registry=Registry(),
            dropped=dropped,
            store=store,
            metadata=cluster.client,
            watcher=cluster.owners["a"].watcher,
            sealer=cast(Sealer, None),
            clock=cluster.clock,
            rand=SeededRand(2),
        )
        nursery.start_soon(collection.run)
        await store.put("dropped", b"x")
        dropped.add(TP, ["dropped"], now=trio.current_time())
        await trio.sleep(95)
        assert [each.key for each in (await store.list("dropped")).objects] == ["dropped"]
        assert collection.statistics().waiting == 1
        await trio.sleep(600)
        assert (await store.list("dropped")).objects == ()
        assert collection.statistics().deleted.objects == {Allowed.DROPPED: 1}
        assert collection.statistics().collects_unowned
        nursery.cancel_scope.cancel()
