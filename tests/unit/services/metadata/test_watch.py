"""Watching: snapshots in parts, resuming, slow watchers, replicas behind and ahead, a store that is gone."""

from contextlib import aclosing
from uuid import UUID

import pytest
import trio

from libs.clients.view import ClusterView
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Topic
from libs.model.errors import Overloaded, Unavailable
from libs.model.ids import Revision, TopicId, TopicName
from services.metadata import keys, stored
from services.metadata.cache import Cache
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Delete, Put
from services.metadata.rpc_watch import SNAPSHOT_PART_CHANGES_MAX
from tests.support.kv import FaultyKV
from tests.support.metadata import open_metadata_cluster, wait_view
from tests.unit.services.metadata.test_topics import created, new


def topic_put(number: int) -> Put:
    topic = Topic(name=TopicName(f"t{number}"), topic_id=TopicId(UUID(int=number)), partitions=1, live=True)
    return Put(key=keys.topic(topic.name), value=stored.topic_bytes(topic))


async def fill(kv: MemoryKV, begin: int, end: int) -> Revision:
    revision = Revision(0)
    for number in range(begin, end):
        revision = (await kv.txn([], [topic_put(number)])).revision
    return revision


class Follower:
    """A watcher of one cache: a view fed by the feed."""

    def __init__(self, cache: Cache) -> None:
        self.view = ClusterView()
        self.events = 0
        self._cache = cache

    async def follow(self) -> None:
        async with aclosing(self._cache.feed.follow(self.view.revision)) as events:
            async for event in events:
                self.events += 1
                self.view.apply(event)

    @property
    def names(self) -> set[str]:
        return set(self.view.topics_by_name)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_a_snapshot_comes_in_parts_then_changes_follow(autojump_clock: object) -> None:
    kv = MemoryKV()
    count = SNAPSHOT_PART_CHANGES_MAX + 500
    await fill(kv, 0, count)
    cache = Cache(kv, rand=SeededRand(1))
    follower = Follower(cache)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower.follow)  # before there is anything
        nursery.start_soon(cache.run)
        await cache.wait_loaded()
        await settled()
        assert len(follower.names) == count
        assert follower.events == 2
        await kv.txn([], [topic_put(count), Delete(key=keys.topic(TopicName("t0")))])
        await settled()
        assert len(follower.names) == count
        assert "t0" not in follower.names
        assert follower.events == 3
        assert follower.view.revision == kv.revision
        nursery.cancel_scope.cancel()


async def test_a_watcher_resumes_where_it_was_on_any_replica(autojump_clock: object) -> None:
    kv = MemoryKV()
    one, two = Cache(kv, rand=SeededRand(1)), Cache(kv, rand=SeededRand(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        nursery.start_soon(two.run)
        await one.wait_loaded()
        await two.wait_loaded()
        await fill(kv, 0, 3)
        await settled()
        follower = Follower(one)
        async with trio.open_nursery() as first:
            first.start_soon(follower.follow)
            await settled()
            first.cancel_scope.cancel()
        await fill(kv, 3, 6)
        await settled()
        before = follower.events
        follower._cache = two
        nursery.start_soon(follower.follow)
        await settled()
        assert follower.names == {f"t{number}" for number in range(6)}
        assert follower.events == before + 3
        assert two.feed.statistics().snapshots_sent == 0
        nursery.cancel_scope.cancel()


async def test_a_slow_watcher_is_dropped_and_resumes_with_a_snapshot(autojump_clock: object) -> None:
    kv = MemoryKV()
    cache = Cache(kv, rand=SeededRand(1), ring_events_max=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.run)
        await cache.wait_loaded()
        follower = Follower(cache)
        events = cache.feed.follow(Revision(0))
        async with aclosing(events):
            follower.view.apply(await anext(events))
            await fill(kv, 0, 50)  # and it does not read
            await settled()
            assert cache.feed.statistics().ring_events == 10
            with pytest.raises(Overloaded, match="too slow"):
                await anext(events)
        assert cache.feed.statistics().dropped == 1
        nursery.start_soon(follower.follow)
        await settled()
        assert len(follower.names) == 50
        assert cache.feed.statistics().snapshots_sent == 2
        nursery.cancel_scope.cancel()


async def test_a_replica_that_is_behind_tells_nothing_twice(autojump_clock: object) -> None:
    kv = MemoryKV()
    behind = Cache(kv, rand=SeededRand(1))
    async with trio.open_nursery() as nursery:
        life = trio.CancelScope()
        nursery.start_soon(_run_in, life, behind)
        await behind.wait_loaded()
        await settled()
        life.cancel()
        await settled()
        known = await fill(kv, 0, 5)
        follower = Follower(behind)
        follower.view.revision = known  # it comes from a replica that is ahead
        assert await behind.plausible(known) == known
        nursery.start_soon(follower.follow)
        nursery.start_soon(behind.run)
        await settled()
        assert follower.events == 0
        await fill(kv, 5, 6)
        await settled()
        assert follower.names == {"t5"}
        nursery.cancel_scope.cancel()


async def _run_in(scope: trio.CancelScope, cache: Cache) -> None:
    with scope:
        await cache.run()


async def test_a_revision_that_the_store_never_had_means_a_snapshot(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.watcher() as watcher:
        watcher.view.revision = Revision(10**9)  # of a store that was thrown away
        snapshots = cluster.replicas["m0"].service.statistics().watch.snapshots_sent
        replica = cluster.replicas["m0"]
        cache = replica.service._cache
        assert await cache.plausible(Revision(10**9)) == 0
        assert await cache.plausible(cache.state.revision) == cache.state.revision
        assert replica.service.statistics().watch.snapshots_sent == snapshots


async def test_a_cache_that_missed_too_much_reads_all_anew(autojump_clock: object) -> None:
    kv = FaultyKV()
    cache = Cache(kv, rand=SeededRand(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.run)
        await cache.wait_loaded()
        follower = Follower(cache)
        dropped: list[Overloaded] = []

        async def follow_until_dropped() -> None:
            try:
                await follower.follow()
            except Overloaded as error:
                dropped.append(error)

        nursery.start_soon(follow_until_dropped)
        await settled()
        kv.down = True
        kv.break_watches()
        await settled()
        kv.down = False
        last = await fill(kv, 0, 20)
        await kv.compact(last)
        await trio.sleep(30)
        assert len(cache.state.topics) == 20
        assert len(dropped) == 1
        nursery.start_soon(follower.follow)
        await settled()
        assert len(follower.names) == 20
        nursery.cancel_scope.cancel()


async def test_with_the_store_gone_watches_are_served_and_writes_say_so(autojump_clock: object) -> None:
    kv = FaultyKV()
    async with open_metadata_cluster(kv, "m0") as cluster, cluster.client() as client:
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 2))
        kv.down = True
        kv.break_watches()
        async with cluster.watcher() as watcher:
            assert len(watcher.view.assignments) == 2
            with pytest.raises(Unavailable):
                await client.allocate_producer_ids(10)
            (answer,) = await client.create_topics([new("more")], validate_only=False, timeout_seconds=1)
            assert isinstance(answer, Unavailable)
            await cluster.replicas["m0"].service.wait_ready()
            kv.down = False
            await created(client, new("more"))
            await wait_view(watcher, lambda view: len(view.topics) == 2)


async def test_a_value_that_is_none_of_ours_is_passed_over(autojump_clock: object) -> None:
    kv = MemoryKV()
    await kv.txn([], [Put(key=keys.topic(TopicName("bad")), value=b"\xff\xff\xff")])
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await kv.txn([], [Put(key=keys.ASSIGNMENTS + "nonsense", value=b"")])
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders"))
        view = await wait_view(watcher, lambda view: len(view.topics) == 1)
        assert set(view.topics_by_name) == {"orders"}


async def test_a_stopping_replica_sends_its_watchers_away(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0", "m1") as cluster,
        cluster.client("m1") as client,
        cluster.watcher("m0") as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        assert watcher.connected
        await cluster.replicas["m0"].service.drain(5.0)
        await settled()
        assert not watcher.connected
        assert cluster.replicas["m0"].service.statistics().watch.watchers == 0
