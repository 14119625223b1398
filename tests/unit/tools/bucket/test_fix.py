"""`--fix`: only what a rule allows goes, and all the data is still there."""

from dataclasses import replace

from trio.testing import MockClock

from libs.concurrency.clock import ManualClock
from libs.model.cluster import Topic
from libs.model.ids import ChainSeq
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import start_marker_key
from libs.segments.marker import StartMarker, encode_start_marker
from tests.support.bucket import bury, write_compacted
from tests.support.owners import EPOCH_MS, OwnerCluster, batch, open_owner_cluster, tp_of
from tests.support.segments import NONCE, TOPIC_ID
from tools.bucket.fix import fix
from tools.bucket.report import Tally
from tools.bucket.verify import verify


async def fixed(store: MemoryObjectStore, cluster: OwnerCluster | None) -> tuple[dict[str, Tally], list[str]]:
    told: list[str] = []
    deleted = await fix(store, None if cluster is None else cluster.client, tell=told.append)
    return deleted, told


async def keys_of(store: MemoryObjectStore) -> set[str]:
    return {info.key for info in (await store.list("")).objects}


async def produced(cluster: OwnerCluster, topic: Topic, count: int) -> None:
    owner, epoch = await cluster.wait_open(tp_of(topic))
    appends = await cluster.appends(owner)
    for number in range(count):
        await appends.append(tp_of(topic), epoch, batch(str(number)))


async def test_nothing_is_deleted_of_a_cluster_in_order(autojump_clock: MockClock) -> None:
    store = MemoryObjectStore(clock=ManualClock(0))
    async with open_owner_cluster(store) as cluster:
        await produced(cluster, await cluster.create_topic("orders"), 5)
        before = await keys_of(store)
        for metadata in (cluster, None):
            assert await fixed(store, metadata) == ({}, [])
        assert await keys_of(store) == before


async def test_what_is_below_a_marker_goes_without_asking(autojump_clock: MockClock) -> None:
    store = MemoryObjectStore(clock=ManualClock(0))
    async with open_owner_cluster(store, ["a"]) as cluster:
        await produced(cluster, await cluster.create_topic("orders"), 5)
        session = cluster.owners["a"].session
        for seq in (1, 3):
            marker = StartMarker(session=session, seq=ChainSeq(seq), nonce=NONCE, created_ms=EPOCH_MS)
            await store.put(start_marker_key(session, seq), encode_start_marker(marker))
        before = await keys_of(store)
        deleted, told = await fixed(store, None)
        assert {rule: tally.objects for rule, tally in deleted.items()} == {"below_start": 3, "old_marker": 1}
        assert len(told) == 4
        assert start_marker_key(session, 3) in await keys_of(store)
        assert len(before - await keys_of(store)) == 4


async def test_uploads_of_an_epoch_that_is_over_go_and_newer_ones_stay(autojump_clock: MockClock) -> None:
    store = MemoryObjectStore(clock=ManualClock(0))
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 5)
        old = await write_compacted(store, topic, [2], epoch=0, n=5)
        await cluster.start("b")
        await cluster.owners["a"].kill()
        _, epoch = await cluster.wait_open(tp_of(topic), not_on="a")
        assert epoch > 0
        newest = await write_compacted(store, topic, [3], epoch=epoch, n=6)
        assert (await fixed(store, None))[0] == {}
        deleted, _ = await fixed(store, cluster)
        assert {rule: tally.objects for rule, tally in deleted.items()} == {"unnamed": 3}
        left = await keys_of(store)
        assert not {old.key, old.segment_key, old.index_key} & left
        assert {newest.key, newest.segment_key, newest.index_key} <= left


async def test_a_deleted_topic_goes_and_an_unknown_one_stays(autojump_clock: MockClock) -> None:
    store = MemoryObjectStore(clock=ManualClock(0))
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 2)
        stranger = replace(topic, topic_id=TOPIC_ID)
        await write_compacted(store, stranger, [3])
        assert (await fixed(store, cluster))[0] == {}
        await bury(store, stranger)
        deleted, _ = await fixed(store, cluster)
        assert {rule: tally.objects for rule, tally in deleted.items()} == {"topic_deleted": 3}
        assert (await verify(store, cluster.client)).findings == ()
