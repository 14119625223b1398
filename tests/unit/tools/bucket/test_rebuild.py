"""The metadata store is wiped and rebuilt from the bucket alone: the same producers go on, nothing is lost or
doubled.
"""

import random
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Topic
from libs.model.errors import Corrupt, Invalid, KafscaleError
from libs.model.ids import GroupId, TopicId, TopicName, TopicPartition
from libs.objectstore.memory import MemoryObjectStore
from libs.records import iter_batches
from libs.segments.keys import parse_chain_object_key
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, stored
from services.metadata.cluster_info import ensure_cluster
from services.metadata.groups.keys import group_key, offset_key
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Put
from services.partition_owner.store_id import ensure_store_id
from tests.support.bucket import bury, write_compacted
from tests.support.ledger import Ledger, Place, Stamp
from tests.support.owners import (
    EPOCH_MS,
    STORE_ID,
    Appends,
    OwnerCluster,
    RunningOwner,
    batch,
    fetch,
    open_owner_cluster,
    part,
    tp_of,
)
from tests.support.records import decode_batch
from tools.bucket.rebuild import RebuildOptions, Rebuilt, rebuild
from tools.bucket.target import KvSource, adopt
from tools.bucket.verify import verify

PARTITIONS = 4
READERS = GroupId("readers")
SECOND_CLUSTER = ("c", "d")
"""Other names: the seeded chance of a name gives the same sessions again."""


class Producer:
    """An idempotent producer of one partition, as clients are: what was not acknowledged is sent again."""

    def __init__(self, tp: TopicPartition, producer_id: int, ledger: Ledger) -> None:
        self.tp = tp
        self.sent: list[bytes] = []
        self._producer_id = producer_id
        self._ledger = ledger
        self._acknowledged = 0

    def new_batch(self) -> None:
        self.sent.append(
            batch(f"p{self._producer_id}.{len(self.sent)}", producer=(self._producer_id, 0, len(self.sent)))
        )

    async def deliver(self, cluster: OwnerCluster, *, again: int = 0) -> None:
        """Sends what is not acknowledged, beginning with `again` batches that are."""
        first = max(0, self._acknowledged - again)
        while first < len(self.sent):
            owner, epoch = await cluster.wait_open(self.tp)
            appends = await cluster.appends(owner)
            outcome = await appends.outcome(appends.send(self.tp, epoch, self.sent[first]))
            if isinstance(outcome, KafscaleError):
                await trio.sleep(0.1)
                continue
            self._ledger.acknowledged(
                Stamp(f"p{self._producer_id}", first), Place(self.tp.partition, outcome.base_offset)
            )
            first += 1
            self._acknowledged = max(self._acknowledged, first)


async def read_all(cluster: OwnerCluster, topic: Topic) -> dict[Place, Stamp]:
    """Everything, from the first offset on."""
    found: dict[Place, Stamp] = {}
    for partition in range(topic.partitions):
        tp, offset = tp_of(topic, partition), 0
        owner, _ = await cluster.wait_open(tp)
        while True:
            (fetched,) = await fetch(owner, part(tp, offset), max_wait_ms=1)
            assert fetched.error is None, fetched.error
            batches = list(iter_batches(fetched.records))
            if not batches:
                break
            for each in batches:
                for at, record in decode_batch(each.data):
                    if at >= offset:
                        found[Place(partition, at)] = Stamp.of(record.value or b"")
            offset = batches[-1].next_offset
    return found


async def rebuilt(store: MemoryObjectStore, kv: MemoryKV, **options: object) -> Rebuilt:
    return await rebuild(
        store,
        kv,
        options=RebuildOptions(**options),  # type: ignore[arg-type]
        clock=ManualClock(EPOCH_MS * 2),
        rand=SeededRand("rebuild"),
    )


async def take_snapshot(owner: RunningOwner) -> None:
    """As the archive does it in its time."""
    await owner.service._archive.round()


async def archive_of(cluster: OwnerCluster) -> RunningOwner:
    """The owner that writes snapshots."""
    while True:
        for owner in cluster.owners.values():
            if owner.service._archive.elected:
                return owner
        await trio.sleep(0.1)


async def test_the_same_producers_go_on_after_a_wipe(autojump_clock: MockClock) -> None:
    """With takeovers and hand-overs before, an owner killed in the middle, duplicates sent after."""
    chance = random.Random(7)
    store, ledger = MemoryObjectStore(clock=ManualClock(0)), Ledger()
    async with open_owner_cluster(store) as cluster:
        topic = await cluster.create_topic("orders", partitions=PARTITIONS, configs={"retention.ms": "-1"})
        producers = [Producer(tp_of(topic, partition), 100 + partition, ledger) for partition in range(4)]
        for turn in range(30):
            for producer in chance.sample(producers, 2):
                producer.new_batch()
                await producer.deliver(cluster)
            if turn == 10:
                await cluster.start("e")
            if turn == 20:
                await cluster.owners["a"].kill()
        for producer in producers:
            producer.new_batch()  # its answer never comes
            owner, epoch = await cluster.wait_open(producer.tp)
            (await cluster.appends(owner)).send(producer.tp, epoch, producer.sent[-1])
        epochs = [(await cluster.assignment(producer.tp)).leader_epoch for producer in producers]
    kv = MemoryKV()
    result = await rebuilt(store, kv)
    assert [topic.name for topic in result.restored.topics] == ["orders"]
    assert result.restored.partitions == PARTITIONS
    assert result.snapshot is None
    report = await verify(store, KvSource(kv))
    assert report.findings == ()
    async with open_owner_cluster(store, SECOND_CLUSTER, kv=kv) as cluster:
        for producer, epoch in zip(producers, epochs, strict=True):
            assert (await cluster.assignment(producer.tp)).leader_epoch > epoch + 900
            await producer.deliver(cluster, again=3)
            producer.new_batch()
            await producer.deliver(cluster)
        reading = await read_all(cluster, topic)
        assert ledger.judge(reading) == []
        assert len(reading) == sum(len(producer.sent) for producer in producers)
        first = (await cluster.client.allocate_producer_ids(1)).start
        assert first > 103
        assert (await verify(store, cluster.client)).findings == ()
        known = cluster.metadata.replicas["m"].service._cache.state.topics[TopicName("orders")].value
        assert dict(known.configs) == {"retention.ms": "-1"}


async def test_groups_offsets_and_the_cluster_come_from_the_snapshot(autojump_clock: MockClock) -> None:
    store, kv = MemoryObjectStore(clock=ManualClock(0)), MemoryKV()
    async with open_owner_cluster(store, kv=kv) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 3)
        at = tp_of(topic)
        gone = TopicPartition(TopicId(SeededRand("gone").uuid()), at.partition)
        await kv.txn(
            [],
            [
                Put(key=group_key(READERS), value=group_bytes()),
                Put(key=offset_key(READERS, at), value=b"\x08\x02"),
                Put(key=offset_key(READERS, gone), value=b"\x08\x09"),
                Put(key="broker_ids/7", value=b"\x0a\x01g"),
            ],
        )
        cluster_id = await ensure_cluster(kv, SeededRand("none"))
        await take_snapshot(await archive_of(cluster))
        ids = await cluster.client.allocate_producer_ids(500)
    new = MemoryKV()
    result = await rebuilt(store, new)
    assert (result.restored.groups, result.restored.offsets) == (1, 1)
    assert await ensure_cluster(new, SeededRand("other")) == cluster_id
    assert (await value_of(new, offset_key(READERS, at))) == b"\x08\x02"
    assert await new.get(offset_key(READERS, gone)) is None
    assert await new.get("broker_ids/7") is not None
    group = messages.Group.FromString(await value_of(new, group_key(READERS)))
    assert (group.generation, list(group.members), group.claim) == (1005, [], 3)
    next_id = messages.ProducerIds.FromString(await value_of(new, keys.PRODUCER_IDS)).next
    assert next_id > ids.stop
    # The bucket that was rebuilt from may be a copy without the id of the first: its owners say which it is.
    assert await store_id_of(new) == b""


async def store_id_of(kv: MemoryKV) -> bytes:
    return messages.ClusterInfo.FromString(await value_of(kv, keys.CLUSTER)).store_id


async def test_a_cluster_in_another_object_store_is_not_overwritten(autojump_clock: MockClock) -> None:
    """Settings that name the wrong bucket are the likeliest reason."""
    store, kv = MemoryObjectStore(clock=ManualClock(0)), MemoryKV()
    async with open_owner_cluster(store, kv=kv) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 3)
        await take_snapshot(await archive_of(cluster))
    await trio.sleep(60)  # its leases end
    found = await ensure_store_id(store, SeededRand("store"))
    with pytest.raises(Invalid, match="run adopt first"):
        await rebuilt(store, kv, overwrite=True)
    assert await store_id_of(kv) == STORE_ID.bytes
    await adopt(kv, found)
    assert await store_id_of(kv) == found.bytes
    await rebuilt(store, kv, overwrite=True)
    assert await store_id_of(kv) == found.bytes


async def test_nothing_is_adopted_under_a_running_service(autojump_clock: MockClock) -> None:
    store, kv = MemoryObjectStore(clock=ManualClock(0)), MemoryKV()
    async with open_owner_cluster(store, kv=kv):
        with pytest.raises(Invalid, match="stop every service"):
            await adopt(kv, None)
    assert await store_id_of(kv) == STORE_ID.bytes


async def test_a_point_in_time(autojump_clock: MockClock) -> None:
    """Offsets and configs as of then, data as of now."""
    store, kv = MemoryObjectStore(clock=ManualClock(0)), MemoryKV()
    times: list[int] = []
    async with open_owner_cluster(store, kv=kv) as cluster:
        topic = await cluster.create_topic("orders", configs={"retention.ms": "1"})
        for turn in range(3):
            await produced(cluster, topic, 2)
            config = replace(topic, configs={"retention.ms": str(turn)})
            await kv.txn(
                [],
                [
                    Put(key=offset_key(READERS, tp_of(topic)), value=bytes([8, turn])),
                    Put(key=keys.topic(topic.name), value=stored.topic_bytes(config)),
                ],
            )
            await trio.sleep(5)
            await take_snapshot(await archive_of(cluster))
            times.append(cluster.clock.now_ms())
            await trio.sleep(60)
        later = await cluster.create_topic("later")
        await produced(cluster, later, 1)
    for turn, at_ms in enumerate(times):
        new = MemoryKV()
        result = await rebuilt(store, new, at_ms=at_ms)
        assert await value_of(new, offset_key(READERS, tp_of(topic))) == bytes([8, turn])
        restored = {each.name: each for each in result.restored.topics}
        assert restored.keys() == {"orders", "later"}
        assert restored[TopicName("orders")].configs == {"retention.ms": str(turn)}
        assert result.restored.records == 6 + 1
    with pytest.raises(Invalid, match="no snapshot of that time"):
        await rebuilt(store, MemoryKV(), at_ms=5)


async def test_manifests_are_taken_and_what_is_beyond_them(autojump_clock: MockClock) -> None:
    store = MemoryObjectStore(clock=ManualClock(0))
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 10)
    await write_compacted(store, topic, [2, 4], n=0, value=b"x.1")
    await write_compacted(store, topic, [6], n=1, log_start=3, value=b"x.1")
    torn = await write_compacted(store, topic, [8], n=2, value=b"x.1")
    await store.delete([torn.segment_key])
    kv = MemoryKV()
    result = await rebuilt(store, kv)
    item = await kv.get(keys.partition(tp_of(topic)))
    assert item is not None
    state = stored.partition_state(item).value
    assert state.manifest_key.endswith("manifest-0000000000-0000000001.kfm")
    assert (state.log_start_offset, state.released_offset) == (3, 10)
    assert result.restored.records == 7
    async with open_owner_cluster(store, SECOND_CLUSTER, kv=kv) as cluster:
        owner, epoch = await cluster.wait_open(tp_of(topic))
        appends: Appends = await cluster.appends(owner)
        assert await appends.append(tp_of(topic), epoch, batch("next")) == 10
        (fetched,) = await fetch(owner, part(tp_of(topic), 3))
        assert fetched.error is None
        assert next(iter_batches(fetched.records)).base_offset == 3


async def test_what_nobody_names_is_not_lost(autojump_clock: MockClock) -> None:
    """Data of a topic without an object gets a name; a deleted topic stays deleted; a taken name is not."""
    store = MemoryObjectStore(clock=ManualClock(0))
    async with open_owner_cluster(store, ["a"]) as cluster:
        topics = [await cluster.create_topic(name) for name in ("nameless", "deleted", "old")]
        for topic in topics:
            await produced(cluster, topic, 2)
        nameless, deleted, old = topics
        await cluster.client.delete_topics([old.name])
        await trio.sleep(5)
        cluster.metadata.replicas["m"].service._handlers._topics._clock.advance_ms(1000)  # type: ignore[attr-defined]
        new = await cluster.create_topic("old")
        await produced(cluster, new, 2)
    await store.delete([info.key for info in (await store.list(f"meta/topics/{nameless.topic_id}")).objects])
    await bury(store, deleted)
    result = await rebuilt(store, MemoryKV())
    assert {topic.name: topic.topic_id for topic in result.restored.topics} == {
        f"recovered-{nameless.topic_id}": nameless.topic_id,
        "old": new.topic_id,
        f"recovered-{old.topic_id}": old.topic_id,
    }
    assert len(result.restored.notes) == 2


async def test_a_bucket_with_a_hole_is_refused_until_it_is_accepted(autojump_clock: MockClock) -> None:
    store = MemoryObjectStore(clock=ManualClock(0))
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 12)
    data = [info.key for info in (await store.list("wal/")).objects if info.size_bytes > 200]
    await store.delete([data[5]])
    kv = MemoryKV()
    with pytest.raises(Corrupt, match="accept-loss"):
        await rebuilt(store, kv)
    assert await kv.get(keys.CLUSTER) is None
    result = await rebuilt(store, kv, accept_loss=True)
    place = parse_chain_object_key(data[5])
    assert place is not None
    assert result.problems
    async with open_owner_cluster(store, SECOND_CLUSTER, kv=kv) as cluster:
        owner, epoch = await cluster.wait_open(tp_of(topic))
        appends = await cluster.appends(owner)
        assert await appends.append(tp_of(topic), epoch, batch("next")) == result.restored.records


async def test_a_store_in_use_or_with_something_in_it_is_refused(autojump_clock: MockClock) -> None:
    store, kv = MemoryObjectStore(clock=ManualClock(0)), MemoryKV()
    async with open_owner_cluster(store, kv=kv) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 2)
        with pytest.raises(Invalid, match="registered"):
            await rebuilt(store, kv, overwrite=True)
    await trio.sleep(60)
    with pytest.raises(Invalid, match="--overwrite"):
        await rebuilt(store, kv)
    result = await rebuilt(store, kv, overwrite=True)
    assert result.restored.records == 2
    assert (await verify(store, KvSource(kv))).findings == ()


async def test_an_empty_bucket_gives_an_empty_cluster(autojump_clock: MockClock) -> None:
    kv = MemoryKV()
    result = await rebuilt(MemoryObjectStore(clock=ManualClock(0)), kv)
    assert (result.restored.topics, result.restored.records) == ((), 0)
    assert await ensure_cluster(kv, SeededRand("new"))


async def produced(cluster: OwnerCluster, topic: Topic, count: int) -> None:
    for number in range(count):
        owner, epoch = await cluster.wait_open(tp_of(topic))
        appends = await cluster.appends(owner)
        await appends.append(tp_of(topic), epoch, batch(f"{topic.name}.{number}"))


async def value_of(kv: MemoryKV, key: str) -> bytes:
    item = await kv.get(key)
    assert item is not None, key
    return item.value


def group_bytes() -> bytes:
    member = messages.GroupMember(member_id="m", session_timeout_ms=1, rebalance_timeout_ms=1)
    session = SeededRand("group").uuid().bytes
    return messages.Group(
        coordinator="m", coordinator_session=session, generation=5, claim=3, members=[member], leader="m"
    ).SerializeToString()
