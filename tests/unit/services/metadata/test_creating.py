"""Creating a topic in several transactions, some of which meet a change."""

from collections.abc import Sequence

from services.metadata import keys
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Delete, ModRevisionIs, Put, TxnResult
from tests.support.metadata import open_metadata_cluster, wait_view
from tests.unit.services.metadata.test_topics import created, new


class RivalKV(MemoryKV):
    """Just before partitions are assigned for the first time, the owner of some registers again."""

    met = False

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        if not self.met and any(op.key.startswith(keys.ASSIGNMENTS) for op in ops):
            self.met = True
            item = await self.get(keys.OWNERS + "owner-0")
            assert item is not None
            await super().txn([], [Put(key=item.key, value=item.value, lease_id=item.lease_id)])
        return await super().txn(compares, ops)


async def test_a_topic_goes_live_only_with_every_partition(autojump_clock: object) -> None:
    kv = RivalKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        await cluster.owner(client, "owner-1", 1)
        await created(client, new("orders", 120))
        assert kv.met
        view = await wait_view(watcher, lambda view: any(topic.live for topic in view.topics.values()))
        assert len(view.assignments) == 120
