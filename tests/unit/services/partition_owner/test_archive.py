"""The bucket is kept able to tell the cluster: topic objects, tombstones, snapshots of the metadata store."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import trio
from trio.testing import MockClock

from libs.clients.metadata import MetadataClient, TopicToCreate
from libs.clients.topic_updates import TopicUpdate
from libs.clients.watcher import ClusterWatcher
from libs.concurrency.clock import ManualClock
from libs.model.cluster import Topic
from libs.model.ids import OwnerId, TopicName
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import (
    SnapshotName,
    TopicObjectName,
    parse_snapshot_key,
    snapshot_key,
    snapshot_part_key,
    topic_object_key,
    topic_objects_prefix,
)
from libs.segments.layout import SNAPSHOT_PART_BYTES
from libs.segments.snapshot import SnapshotPart, check_whole, parse_snapshot_part
from libs.segments.topic_object import TopicObject, parse_topic_object
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Put
from services.partition_owner.archive import Archive, ArchiveLimits
from services.partition_owner.topic_objects import TopicObjects
from tests.support.metadata import open_metadata_cluster, owner_named, wait_view
from tests.support.owners import open_owner_cluster, tp_of

LIMITS = ArchiveLimits(every_seconds=300.0, recent_max=2, days_max=0)
NOW_MS = 1_700_000_000_000


class Scene:
    """A metadata replica, a store, and one owner's archive, driven by rounds."""

    def __init__(
        self, kv: MemoryKV, client: MetadataClient, watcher: ClusterWatcher, nursery: trio.Nursery
    ) -> None:
        self.kv = kv
        self.client = client
        self.watcher = watcher
        self.store = MemoryObjectStore(clock=ManualClock(0))
        self.clock = ManualClock(NOW_MS)
        self._nursery = nursery
        self.archive = self.new_archive()

    def new_archive(self) -> Archive:
        """As another process has it."""
        topics = TopicObjects(store=self.store, clock=self.clock, nursery=self._nursery)
        return Archive(
            owner_id=OwnerId("a"),
            store=self.store,
            metadata=self.client,
            view=self.watcher.view,
            topics=topics,
            limits=LIMITS,
            clock=self.clock,
        )

    async def create(self, name: str, configs: Mapping[str, str] | None = None) -> Topic:
        wanted = TopicToCreate(name=TopicName(name), partitions=1, configs=configs or {})
        (topic,) = await self.client.create_topics([wanted], validate_only=False, timeout_seconds=0)
        view = await wait_view(self.watcher, lambda view: TopicName(name) in view.topics_by_name)
        assert topic is not None
        return view.topics_by_name[TopicName(name)]

    async def round(self) -> None:
        self.clock.advance_ms(300_000)
        await self.archive.round()

    async def keys(self, prefix: str = "meta/") -> list[str]:
        return [each.key for each in (await self.store.list(prefix)).objects]

    async def said(self, topic: Topic, *, passing_over: str = "") -> list[TopicObject]:
        keys = await self.keys(topic_objects_prefix(topic.topic_id))
        return [parse_topic_object(await self.store.get(key)) for key in keys if key != passing_over]

    async def snapshots(self) -> list[SnapshotPart]:
        return [parse_snapshot_part(await self.store.get(key)) for key in await self.keys("meta/snapshots/")]


@asynccontextmanager
async def open_scene() -> AsyncIterator[Scene]:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
        trio.open_nursery() as nursery,
    ):
        await cluster.owner(client, "a", 1)
        await wait_view(watcher, lambda view: OwnerId("a") in view.owners)
        yield Scene(kv, client, watcher, nursery)
        nursery.cancel_scope.cancel()


async def test_a_change_is_written_once_and_quiet_is_silent(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        await scene.create("orders")
        await trio.sleep(30)
        await scene.round()
        (snapshot,) = await scene.snapshots()
        check_whole([snapshot])
        assert [entry.key.split("/")[0] for entry in snapshot.entries] == ["assignments", "cluster", "topics"]
        before = await scene.keys()
        await scene.round()
        assert await scene.keys() == before
        assert scene.archive.statistics().last_ms == snapshot.name.created_ms


async def test_the_next_one_to_do_it_writes_nothing_that_is_there(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        await scene.create("orders")
        await trio.sleep(30)
        await scene.round()
        before = await scene.keys()
        scene.archive = scene.new_archive()
        await scene.round()
        assert await scene.keys() == before
        assert scene.archive.statistics().last_ms == NOW_MS + 300_000
        await scene.kv.txn([], [Put(key="groups/g", value=b"v")])
        await scene.round()
        assert len(await scene.snapshots()) == 2


async def test_only_the_chosen_owner_does_it(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        await scene.create("orders")
        await scene.client.register_owner(owner_named("f", 2), in_flight_max=4)
        await wait_view(scene.watcher, lambda view: len(view.owners) == 2)
        chosen = scene.archive.elected
        await scene.round()
        assert bool(await scene.keys()) == chosen
        others = Archive(
            owner_id=OwnerId("f"),
            store=scene.store,
            metadata=scene.client,
            view=scene.watcher.view,
            topics=scene.archive._topics,
            limits=LIMITS,
            clock=scene.clock,
        )
        assert others.elected is not chosen


async def test_a_large_store_is_written_in_parts_and_old_snapshots_go_whole(
    autojump_clock: MockClock,
) -> None:
    async with open_scene() as scene:
        for number in range(20):
            await scene.kv.txn([], [Put(key=f"groups/{number:02d}", value=bytes(SNAPSHOT_PART_BYTES // 10))])
        names: list[SnapshotName] = []
        for turn in range(3):
            await scene.kv.txn([], [Put(key="groups/x", value=bytes([turn]))])
            await scene.round()
            *rest, last = [part for part in await scene.snapshots() if part.name not in names]
            names.append(last.name)
            check_whole(sorted([*rest, last], key=lambda part: part.part))
            assert len(rest) >= 1
        kept = {parsed[0] for key in await scene.keys() if (parsed := parse_snapshot_key(key)) is not None}
        assert kept == set(names[1:])


async def test_what_never_became_whole_goes_after_a_day(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        await scene.create("orders")
        await scene.round()
        (snapshot,) = await scene.snapshots()
        torn = snapshot_part_key(snapshot.name._replace(created_ms=NOW_MS), 0)
        await scene.store.put(torn, b"begun and never ended")
        await scene.kv.txn([], [Put(key="groups/g", value=b"1")])
        await scene.round()
        assert torn in await scene.keys()
        scene.clock.advance_ms(25 * 3_600_000)
        await scene.kv.txn([], [Put(key="groups/g", value=b"2")])
        await scene.round()
        assert torn not in await scene.keys()


async def test_a_damaged_snapshot_is_passed_over(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        await scene.create("orders")
        await scene.round()
        (snapshot,) = await scene.snapshots()
        await scene.store.put(snapshot_key(snapshot.name), b"damaged")
        scene.archive = scene.new_archive()
        await scene.round()
        assert scene.archive.statistics().written == 1


async def test_the_name_is_later_than_the_last_whatever_the_clock_says(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        await scene.round()
        scene.clock.set_ms(5)
        await scene.kv.txn([], [Put(key="groups/g", value=b"1")])
        await scene.archive.round()
        first, second = await scene.snapshots()
        assert second.name.created_ms == first.name.created_ms + 1


async def test_a_changed_topic_is_written_anew_and_an_old_one_gets_its_first_object(
    autojump_clock: MockClock,
) -> None:
    async with open_scene() as scene:
        topic = await scene.create("orders", {"retention.ms": "5"})
        await scene.round()
        topics = TopicObjects(store=scene.store, clock=scene.clock, nursery=scene._nursery)
        await topics.ensure_exists(topic)
        assert topics.written == 0
        for _ in range(2):
            await topics.ensure_current(replace(topic, configs={"retention.ms": "6"}))
        first, second = [
            parse_topic_object(await scene.store.get(key)) for key in await scene.keys("meta/topics/")
        ]
        assert (first.n, dict(first.configs)) == (0, {"retention.ms": "5"})
        assert (second.n, dict(second.configs)) == (1, {"retention.ms": "6"})


async def test_a_change_that_nobody_wrote_is_written_by_the_next_one_to_do_it(
    autojump_clock: MockClock,
) -> None:
    """It grew, and who was to write it died before its round; what it knows from before is old."""
    async with open_scene() as scene:
        await scene.create("quiet")
        topic = await scene.create("orders")
        await scene.round()
        first = scene.archive
        await scene.client.update_topic(TopicUpdate(name=topic.name, partitions=5))
        await wait_view(scene.watcher, lambda view: view.topics[topic.topic_id].partitions == 5)
        scene.archive = scene.new_archive()
        await scene.round()
        said = await scene.said(topic)
        assert [each.partitions for each in said] == [1, 5]
        await first._topics.learn([topic.topic_id])
        await first.round()
        assert await scene.said(topic) == said
        assert len(await scene.keys("meta/topics/")) == 3


async def test_a_damaged_topic_object_is_written_anew_beside_it(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        topic, other = await scene.create("orders"), await scene.create("other")
        await scene.round()
        key = topic_object_key(TopicObjectName(topic.topic_id, 0))
        await scene.store.put(key, b"damaged")
        scene.archive = scene.new_archive()
        await scene.round()
        assert scene.archive.statistics().failures == 0
        (said,) = await scene.said(topic, passing_over=key)
        assert (said.n, said.partitions) == (1, 1)
        assert len(await scene.said(other)) == 1


async def test_owners_write_one_object_a_topic_before_its_first_record(autojump_clock: MockClock) -> None:
    """Eight partitions on two owners, then a takeover of all of them."""
    store = MemoryObjectStore(clock=ManualClock(0))
    async with open_owner_cluster(store) as cluster:
        topic = await cluster.create_topic("orders", partitions=8)
        for partition in range(8):
            await cluster.wait_open(tp_of(topic, partition))
        (found,) = (await store.list("meta/topics/")).objects
        said = parse_topic_object(await store.get(found.key))
        assert (said.name, said.topic_id, said.partitions) == ("orders", topic.topic_id, 8)
        await cluster.owners["a"].kill()
        for partition in range(8):
            await cluster.wait_open(tp_of(topic, partition), not_on="a")
        assert len((await store.list("meta/")).objects) == 1
