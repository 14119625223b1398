"""Creating a topic in several transactions, some of which meet a change."""

from collections.abc import Sequence

import pytest
import trio

from libs.model.cluster import Assignment, Topic
from libs.model.ids import LeaderEpoch, OwnerId, Partition, TopicName, TopicPartition
from services.metadata import keys, stored
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Delete, ModRevisionIs, Put, TxnResult
from tests.support.metadata import open_metadata_cluster, wait_view
from tests.support.segments import SESSION, TOPIC_ID
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


@pytest.mark.parametrize("partitions", [2, 120])
async def test_assignments_beyond_the_partitions_hide_none_that_is_missing(
    partitions: int, autojump_clock: object
) -> None:
    """A topic that is not live has more assignments than partitions: it goes live, with all of its own."""
    kv = MemoryKV()
    topic = Topic(name=TopicName("orders"), topic_id=TOPIC_ID, partitions=partitions, live=False)
    ops = [Put(key=keys.topic(topic.name), value=stored.topic_bytes(topic))]
    for index in (0, *range(partitions, partitions + 4)):
        at = TopicPartition(topic.topic_id, Partition(index))
        assignment = Assignment(
            topic_id=at.topic_id,
            partition=at.partition,
            owner_id=OwnerId("owner-0"),
            session=SESSION,
            leader_epoch=LeaderEpoch(0),
        )
        ops.append(Put(key=keys.assignment(at), value=stored.assignment_bytes(assignment)))
    await kv.txn([], ops)
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        with trio.fail_after(60):
            view = await wait_view(watcher, lambda view: any(each.live for each in view.topics.values()))
        assert {at.partition for at in view.assignments} >= set(range(partitions))
