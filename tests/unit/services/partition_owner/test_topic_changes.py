"""A topic changes while owners serve it: they follow, without a restart, and tell the bucket."""

import trio
from trio.testing import MockClock

from libs.clients.topic_updates import ConfigChanges, TopicUpdate
from libs.model.ids import TopicName
from libs.segments.topic_object import parse_topic_object
from tests.support.owners import OwnerCluster, batch, list_offset, open_owner_cluster, tp_of
from tests.support.producing import read_all
from tests.unit.services.partition_owner.compaction.support import (
    EAGER,
    HookedStore,
    compaction,
    wait_compacted,
)

NAME = TopicName("orders")
EARLIEST = -2


async def put(cluster: OwnerCluster, name: str, value: str) -> None:
    await cluster.client.update_topic(TopicUpdate(name=NAME, configs=ConfigChanges(put={name: value})))


async def test_new_partitions_open_and_the_old_ones_go_on(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore()) as cluster:
        topic = await cluster.create_topic(NAME, 1)
        owner, epoch = await cluster.wait_open(tp_of(topic, 0))
        appends = await cluster.appends(owner)
        await appends.append(tp_of(topic, 0), epoch, batch("before"))
        await cluster.client.update_topic(TopicUpdate(name=NAME, partitions=120))
        for partition in range(1, 120):
            other, other_epoch = await cluster.wait_open(tp_of(topic, partition))
        there = await cluster.appends(other)
        await there.append(tp_of(topic, 119), other_epoch, batch("new"))
        await appends.append(tp_of(topic, 0), epoch, batch("after"))
        assert await read_all(other, tp_of(topic, 119)) == ["new"]
        assert await read_all(owner, tp_of(topic, 0)) == ["before", "after"]


async def test_retention_and_sizes_take_effect(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options=EAGER)
        tp = tp_of(await cluster.create_topic(NAME))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        await put(cluster, "segment.bytes", "14")
        for number in range(4):
            await appends.append(tp, epoch, batch(f"{number}" * 50_000))
            await wait_compacted(owner, segments=number + 1)
        await trio.sleep(60)
        assert compaction(owner).segments == 4
        await put(cluster, "segment.bytes", str(2**20))
        await wait_compacted(owner, segments=1)
        assert (await list_offset(owner, tp, EARLIEST)).offset == 0
        await put(cluster, "retention.bytes", "0")
        await trio.sleep(30)
        assert (await list_offset(owner, tp, EARLIEST)).offset == 4


async def test_the_bucket_is_told(autojump_clock: MockClock) -> None:
    store = HookedStore()
    async with open_owner_cluster(store) as cluster:
        topic = await cluster.create_topic(NAME, 2)
        await cluster.wait_open(tp_of(topic, 1))
        await put(cluster, "retention.ms", "5")
        await trio.sleep(700)
        await cluster.client.update_topic(TopicUpdate(name=NAME, partitions=3))
        await trio.sleep(700)
        said = [
            parse_topic_object(await store.get(each.key))
            for each in (await store.list("meta/topics/")).objects
        ]
        assert [(each.partitions, dict(each.configs)) for each in said] == [
            (2, {}),
            (2, {"retention.ms": "5"}),
            (3, {"retention.ms": "5"}),
        ]
