"""The verifier: silent about what owners wrote, live or not; and every kind of damage has its finding."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import ManualClock
from libs.model.cluster import Topic
from libs.model.ids import TopicId, TopicName
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import chain_object_key, parse_start_marker_key, start_marker_key
from libs.segments.marker import StartMarker, encode_start_marker
from tests.support.bucket import bury, flip, write_compacted
from tests.support.owners import EPOCH_MS, OwnerCluster, batch, open_owner_cluster, tp_of
from tests.support.segments import NONCE, TOPIC_ID
from tools.bucket.report import Report
from tools.bucket.verify import verify
from tools.bucket.work import Options, Progress

PARTITIONS = 3


class Bucket:
    """A store that a cluster of two owners wrote, one of which was killed; the other one is alive."""

    def __init__(self, cluster: OwnerCluster, store: MemoryObjectStore, topic: Topic) -> None:
        self.cluster = cluster
        self.store = store
        self.topic = topic

    async def keys(self, prefix: str = "") -> list[str]:
        return [info.key for info in (await self.store.list(prefix)).objects]

    async def sizes(self) -> dict[str, int]:
        return {info.key: info.size_bytes for info in (await self.store.list("")).objects}

    async def data_keys(self) -> list[str]:
        """Chain objects with records."""
        sizes = await self.sizes()
        return [key for key, size in sizes.items() if key.endswith(".wal") and size > 300]

    async def verify(self, *, alone: bool = False, options: Options | None = None) -> Report:
        return await verify(self.store, None if alone else self.cluster.client, options=options)

    async def kinds(self, *, alone: bool = False) -> set[str]:
        return {finding.kind for finding in (await self.verify(alone=alone)).findings}


async def produce(cluster: OwnerCluster, topic: Topic, count: int, *, not_on: str = "") -> None:
    """One batch of three records in each of `count` flushes of every partition."""
    for partition in range(PARTITIONS):
        owner, epoch = await cluster.wait_open(tp_of(topic, partition), not_on=not_on)
        appends = await cluster.appends(owner)
        for number in range(count):
            values = [f"{partition}.{number}.{each}" * 10 for each in range(3)]
            await appends.append(tp_of(topic, partition), epoch, batch(*values))


@asynccontextmanager
async def open_bucket(flushes: int = 4) -> AsyncIterator[Bucket]:
    store = MemoryObjectStore(clock=ManualClock(0))
    async with open_owner_cluster(store) as cluster:
        topic = await cluster.create_topic("orders", partitions=PARTITIONS)
        await produce(cluster, topic, flushes)
        await cluster.owners["a"].kill()
        await produce(cluster, topic, flushes, not_on="a")
        yield Bucket(cluster, store, topic)


@pytest.mark.parametrize("alone", [False, True])
async def test_what_owners_wrote_is_found_right(alone: bool, autojump_clock: MockClock) -> None:
    async with open_bucket(flushes=40) as bucket:
        report = await bucket.verify(alone=alone)
        assert report.findings == ()
        assert (report.chains, report.partitions) == (2, PARTITIONS)
        assert report.seen["chain object"].objects >= 2 * 40 * PARTITIONS
        assert report.seen["chain index"].objects > 0
        assert report.seen["topic object"].objects == 1
        assert (report.revision is None) == alone
        assert "0 errors, 0 warnings" in report.text()


async def test_the_progress_ends_at_its_totals(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        progress = Progress()
        await verify(bucket.store, bucket.cluster.client, progress=progress)
        assert progress.phase == "done"
        assert progress.objects_done == progress.objects_total > 0
        assert progress.bytes_done == progress.bytes_total > 0


async def test_it_reads_only(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        before = await bucket.sizes()
        await bucket.verify()
        assert await bucket.sizes() == before


async def test_it_is_right_about_a_cluster_that_goes_on(autojump_clock: MockClock) -> None:
    """Produces, takeovers and hand-overs meanwhile; never a false word."""
    async with open_bucket() as bucket, trio.open_nursery() as nursery:
        await bucket.cluster.start("c")

        async def churn() -> None:
            for turn in range(6):
                await produce(bucket.cluster, bucket.topic, 3)
                name = f"d{turn}"
                await bucket.cluster.start(name)
                await trio.sleep(2)
                await next(iter(bucket.cluster.owners.values())).kill()

        nursery.start_soon(churn)
        for _ in range(12):
            for alone in (False, True):
                assert (await bucket.verify(alone=alone)).findings == ()
            await trio.sleep(1.5)
        nursery.cancel_scope.cancel()


async def test_a_flipped_bit_of_a_chain_object_is_corrupt(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        key = (await bucket.data_keys())[1]
        size = (await bucket.sizes())[key]
        for at in (2, 100, size - 90, size - 10):
            await flip(bucket.store, key, at)
            assert "corrupt" in await bucket.kinds()
            assert "corrupt" in await bucket.kinds(alone=True)
            await flip(bucket.store, key, at)
        assert await bucket.kinds() == set()


async def test_a_sample_reads_less_and_still_every_end(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        report = await bucket.verify(options=Options(sample=0.0))
        assert report.findings == ()
        key = (await bucket.data_keys())[0]
        await flip(bucket.store, key, 100)
        assert (await bucket.verify(options=Options(sample=0.0))).findings == ()
        await flip(bucket.store, key, (await bucket.sizes())[key] - 10)
        assert not (await bucket.verify(options=Options(sample=0.0))).ok


@pytest.mark.parametrize("alone", [False, True])
async def test_a_chain_object_that_is_gone_is_missed(alone: bool, autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        dead = [key for key in await bucket.data_keys() if str(bucket.cluster.owners["b"].session) not in key]
        await bucket.store.delete([dead[len(dead) // 2]])
        assert await bucket.kinds(alone=alone) & {"missing", "hole"}


async def test_objects_that_metadata_names_below_the_start_are_missed(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        session = bucket.cluster.owners["b"].session
        marker = StartMarker(session=session, seq=5, nonce=NONCE, created_ms=EPOCH_MS)  # type: ignore[arg-type]
        await bucket.store.put(start_marker_key(session, 5), encode_start_marker(marker))
        report = await bucket.verify()
        assert "collected" in {finding.kind for finding in report.findings}
        assert report.garbage["below_start"].objects >= 5


async def test_a_marker_that_says_another_place_is_corrupt(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        session = bucket.cluster.owners["b"].session
        marker = StartMarker(session=session, seq=5, nonce=NONCE, created_ms=EPOCH_MS)  # type: ignore[arg-type]
        key = start_marker_key(session, 0)
        assert parse_start_marker_key(key) is not None
        await bucket.store.put(key, encode_start_marker(marker))
        assert await bucket.kinds() == {"corrupt"}


async def test_an_index_that_says_something_else(autojump_clock: MockClock) -> None:
    async with open_bucket(flushes=40) as bucket:
        indexes = [key for key in await bucket.keys("wal/") if key.endswith(".idx")]
        await flip(bucket.store, indexes[0], 60)
        assert await bucket.kinds() == {"corrupt"}


async def test_compacted_objects_are_read_whole(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        compacted = await write_compacted(bucket.store, bucket.topic, [3, 6], epoch=0)
        assert await bucket.kinds(alone=True) == set()
        small = Options(window_bytes=70)
        assert (await bucket.verify(alone=True, options=small)).findings == ()
        for key in (compacted.key, compacted.segment_key, compacted.index_key):
            for at in (3, -3, 30):
                await flip(bucket.store, key, at)
                assert "corrupt" in await bucket.kinds(alone=True), (key, at)
                await flip(bucket.store, key, at)


async def test_what_a_manifest_names_has_to_be_there(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        compacted = await write_compacted(bucket.store, bucket.topic, [3, 6], epoch=0)
        for key in (compacted.segment_key, compacted.index_key):
            data = await bucket.store.get(key)
            await bucket.store.delete([key])
            assert "missing" in await bucket.kinds(alone=True)
            await bucket.store.put(key, data)
        assert await bucket.kinds(alone=True) == set()


async def test_a_manifest_with_a_hole(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        await write_compacted(bucket.store, bucket.topic, [6], first=3, epoch=0)
        assert await bucket.kinds(alone=True) == {"hole"}


async def test_data_behind_the_manifest_that_does_not_follow(autojump_clock: MockClock) -> None:
    """The manifest ends in the middle of what the dead owner wrote, and its chain was taken away."""
    async with open_bucket() as bucket:
        await write_compacted(bucket.store, bucket.topic, [5], epoch=0)
        assert await bucket.kinds(alone=True) == set()
        alive = str(bucket.cluster.owners["b"].session)
        await bucket.store.delete([key for key in await bucket.keys("wal/") if alive not in key])
        assert await bucket.kinds(alone=True) == {"hole"}
        assert "missing" in await bucket.kinds()


async def test_data_of_a_topic_that_nobody_knows(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        stranger = Topic(name=bucket.topic.name, topic_id=TOPIC_ID, partitions=1)
        await write_compacted(bucket.store, stranger, [3])
        assert await bucket.kinds() == {"unknown topic"}
        assert await bucket.kinds(alone=True) == {"no topic object"}
        await bury(bucket.store, stranger)
        assert await bucket.kinds() == set()
        assert await bucket.kinds(alone=True) == set()


async def test_a_tombstone_of_a_topic_that_lives(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        await bury(bucket.store, bucket.topic)
        assert await bucket.kinds() == {"tombstone"}


async def test_foreign_objects_are_counted_and_left_alone(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        for key in (
            "readme.txt",
            "meta/other",
            "wal/other",
            f"{PurePosixPath(chain_object_key(bucket.cluster.owners['b'].session, 1)).parent}/x",
        ):
            await bucket.store.put(key, b"not ours")
        report = await bucket.verify()
        assert report.findings == ()
        assert report.seen["foreign"].objects == 4


async def test_snapshots_of_the_metadata_are_verified(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        await bucket.cluster.owners["b"].service._archive.round()
        (key,) = await bucket.keys("meta/snapshots/")
        assert await bucket.kinds() == set()
        await flip(bucket.store, key, 100)
        assert await bucket.kinds() == {"corrupt"}


async def test_garbage_is_a_finding_only_where_it_is_asked_for(autojump_clock: MockClock) -> None:
    async with open_bucket() as bucket:
        await write_compacted(bucket.store, bucket.topic, [3], epoch=0)
        assert (await bucket.verify()).findings == ()
        report = await bucket.verify(options=Options(orphans=True))
        assert {finding.kind for finding in report.findings} <= {"orphans"}


async def test_what_deleted_topics_left_is_read_many_at_a_time(autojump_clock: MockClock) -> None:
    """Their objects stay for ever, and a GET takes its 30 ms."""

    class SlowStore(MemoryObjectStore):
        async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            await trio.sleep(0.03)
            return await super().get(key, start=start, length=length)

    store = SlowStore(ManualClock())
    for number in range(1, 2001):
        await bury(store, Topic(name=TopicName("t"), topic_id=TopicId(UUID(int=number)), partitions=1))
    began = trio.current_time()
    report = await verify(store, None, options=Options(gets_max=20))
    assert report.findings == ()
    assert trio.current_time() - began < 2 * 2000 * 0.03 / 20
