"""Rebuilding from buckets that somebody damaged, and metadata stores that somebody left half done.

Each test is a fault that was there: data that would have been missing without a word, or a tool that gave up
where it need not.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import Corrupt, Invalid, Unavailable
from libs.model.ids import ChainSeq, GroupId, LeaderEpoch, Offset, OwnerId, SessionId
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import (
    ManifestName,
    PartitionFolder,
    chain_object_key,
    manifest_key,
    parse_chain_object_key,
    start_marker_key,
)
from libs.segments.marker import StartMarker, encode_start_marker
from libs.segments.seal import Seal, encode_seal
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, stored
from services.metadata.cluster_info import ensure_cluster
from services.metadata.groups.keys import offset_key
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Delete, ModRevisionIs, Put, TxnResult
from tests.support.bucket import bury, flip, write_compacted
from tests.support.owners import EPOCH_MS, batch, open_owner_cluster, tp_of
from tests.support.segments import NONCE, SEALER
from tests.unit.tools.bucket.test_rebuild import archive_of, produced, rebuilt, take_snapshot, value_of
from tools.bucket.fix import fix
from tools.bucket.target import KvSource
from tools.bucket.verify import verify

READERS = GroupId("readers")


def new_store() -> MemoryObjectStore:
    return MemoryObjectStore(clock=ManualClock(0))


async def keys_of(store: MemoryObjectStore, prefix: str) -> list[str]:
    return [info.key for info in (await store.list(prefix)).objects]


# Data that is missing


async def test_a_newest_manifest_that_lost_a_segment_is_not_passed_over(autojump_clock: MockClock) -> None:
    """The one before it is whole, and the chain was collected: the records between would have been gone."""
    store = new_store()
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 8)
    await write_compacted(store, topic, [4], n=0)
    newest = await write_compacted(store, topic, [8], n=1)
    await store.delete([newest.segment_key])
    # As long as the chain has it all, the older one will do: it may be an upload that was given up.
    assert (await rebuilt(store, MemoryKV())).restored.records == 8
    await store.delete(await keys_of(store, "wal/"))
    kv = MemoryKV()
    with pytest.raises(Corrupt, match=r"\[4, 8\)"):
        await rebuilt(store, kv)
    assert "hole" in {finding.kind for finding in (await verify(store, None)).findings}
    assert await kv.get(keys.CLUSTER) is None
    assert (await rebuilt(store, kv, accept_loss=True)).restored.records == 4


async def test_an_index_tells_that_its_chain_lost_everything(autojump_clock: MockClock) -> None:
    """Also its end: what an index covers was durable."""
    for lost_from in (0, 30):
        store = new_store()
        async with open_owner_cluster(store, ["a"]) as cluster:
            topic = await cluster.create_topic("orders")
            await produced(cluster, topic, 66)
            session = cluster.owners["a"].session
            await cluster.owners["a"].kill()
        places = [place for key in await keys_of(store, "wal/") if (place := parse_chain_object_key(key))]
        await store.delete([chain_object_key(session, seq) for _, seq in places if seq >= lost_from])
        assert "missing" in {finding.kind for finding in (await verify(store, None)).findings}
        with pytest.raises(Corrupt, match="accept-loss"):
            await rebuilt(store, MemoryKV())
        kv = MemoryKV()
        result = await rebuilt(store, kv, accept_loss=True)
        assert result.restored.records < 66
        assert result.problems


async def test_a_log_that_ends_below_its_start_is_damage_and_does_not_go_back(
    autojump_clock: MockClock,
) -> None:
    store, kv = new_store(), MemoryKV()
    async with open_owner_cluster(store, ["a"], kv=kv) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 6)
        key = keys.partition(tp_of(topic))
        item = await kv.get(key)
        assert item is not None
        state = replace(stored.partition_state(item).value, log_start_offset=Offset(5))
        await kv.txn([], [Put(key=key, value=stored.partition_state_bytes(state))])
        await take_snapshot(await archive_of(cluster))
    await write_compacted(store, topic, [3], n=0)
    await store.delete(await keys_of(store, "wal/"))
    with pytest.raises(Corrupt, match="log start"):
        await rebuilt(store, MemoryKV())
    new = MemoryKV()
    await rebuilt(store, new, accept_loss=True)
    async with open_owner_cluster(store, ["c"], kv=new) as cluster:
        owner, epoch = await cluster.wait_open(tp_of(topic))
        appends = await cluster.appends(owner)
        assert await appends.append(tp_of(topic), epoch, batch("next")) == 5


async def test_offsets_beyond_the_end_are_set_to_the_end(autojump_clock: MockClock) -> None:
    """Else the group would never see what is written at the offsets between."""
    store, kv = new_store(), MemoryKV()
    async with open_owner_cluster(store, ["a"], kv=kv) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 3)
        value = messages.CommittedOffset(offset=7, leader_epoch=0, metadata="mine").SerializeToString()
        await kv.txn([], [Put(key=offset_key(READERS, tp_of(topic)), value=value)])
        await take_snapshot(await archive_of(cluster))
    new = MemoryKV()
    result = await rebuilt(store, new)
    found = messages.CommittedOffset.FromString(await value_of(new, offset_key(READERS, tp_of(topic))))
    assert (found.offset, found.metadata) == (3, "mine")
    assert any("readers" in note and "7 was committed" in note for note in result.restored.notes)


# Sessions


async def test_an_owner_that_never_wrote_is_sealed_too(autojump_clock: MockClock) -> None:
    """It opened a partition and was paused: nothing in the bucket is its own, but snapshots name it."""
    for with_snapshot in (True, False):
        store, kv = new_store(), MemoryKV()
        async with open_owner_cluster(store, ["a"], kv=kv) as cluster:
            topic = await cluster.create_topic("orders")
            owner, epoch = await cluster.wait_open(tp_of(topic))
            appends = await cluster.appends(owner)
            if with_snapshot:
                await take_snapshot(owner)
                await rebuilt(store, MemoryKV())
            else:
                old = MemoryKV()
                for prefix in (keys.TOPICS, keys.ASSIGNMENTS):
                    items = (await kv.range(prefix, limit=10)).items
                    await old.txn([], [Put(key=item.key, value=item.value) for item in items])
                await rebuilt(store, old, overwrite=True)
            outcome = await appends.outcome(appends.send(tp_of(topic), epoch, batch("late")))
            assert not hasattr(outcome, "base_offset"), "a forgotten owner acknowledged a record"


# The metadata store


class DyingKV(MemoryKV):
    """Dies in the n-th transaction from now on."""

    left = 10**9

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        self.left -= 1
        if self.left < 0:
            raise Unavailable("died")
        return await super().txn(compares, ops)


async def test_a_store_is_never_usable_while_it_is_overwritten(autojump_clock: MockClock) -> None:
    """Killed at any transaction: no replica starts on it, and running it again is all that it needs."""
    store, kv = new_store(), DyingKV()
    async with open_owner_cluster(store, kv=kv) as cluster:
        for number in range(3):
            await produced(cluster, await cluster.create_topic(f"t{number}", partitions=70), 2)
        await take_snapshot(await archive_of(cluster))
    await trio.sleep(60)
    cluster_id = await ensure_cluster(kv, SeededRand("none"))
    deaths = 0
    for transactions in range(1, 100):
        kv.left = transactions
        try:
            await rebuilt(store, kv, overwrite=True)
        except Unavailable:
            deaths += 1
            kv.left = 10**9
            with pytest.raises(Invalid, match="rebuild"):
                await ensure_cluster(kv, SeededRand("none"))
        else:
            break
    assert deaths > 5
    assert await ensure_cluster(kv, SeededRand("none")) == cluster_id
    assert (await verify(store, KvSource(kv))).findings == ()


# Snapshots


async def test_a_damaged_snapshot_says_which_and_an_older_one_serves(autojump_clock: MockClock) -> None:
    store, kv = new_store(), MemoryKV()
    async with open_owner_cluster(store, ["a"], kv=kv) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 9)
        for offset in (2, 4):
            value = messages.CommittedOffset(offset=offset).SerializeToString()
            await kv.txn([], [Put(key=offset_key(READERS, tp_of(topic)), value=value)])
            await take_snapshot(await archive_of(cluster))
            await trio.sleep(10)
    newest = (await keys_of(store, "meta/snapshots/"))[-1]
    await flip(store, newest, 50)
    with pytest.raises(Corrupt, match=newest):
        await rebuilt(store, MemoryKV())
    new = MemoryKV()
    result = await rebuilt(store, new, accept_loss=True)
    found = messages.CommittedOffset.FromString(await value_of(new, offset_key(READERS, tp_of(topic))))
    assert found.offset == 2
    assert any(newest in problem for problem in result.problems)


async def test_a_point_in_time_takes_back_neither_log_starts_nor_deletions(autojump_clock: MockClock) -> None:
    store, kv = new_store(), MemoryKV()
    async with open_owner_cluster(store, ["a"], kv=kv) as cluster:
        topic = await cluster.create_topic("orders")
        gone = await cluster.create_topic("gone")
        await produced(cluster, topic, 6)
        await produced(cluster, gone, 2)
        await take_snapshot(await archive_of(cluster))
        then_ms = cluster.clock.now_ms()
        await trio.sleep(60)
        key = keys.partition(tp_of(topic))
        item = await kv.get(key)
        assert item is not None
        state = replace(stored.partition_state(item).value, log_start_offset=Offset(5))
        await kv.txn([], [Put(key=key, value=stored.partition_state_bytes(state))])
        await cluster.client.delete_topics([gone.name])
        await trio.sleep(5)
        await take_snapshot(await archive_of(cluster))
    new = MemoryKV()
    result = await rebuilt(store, new, at_ms=then_ms)
    assert [each.name for each in result.restored.topics] == ["orders"]
    assert result.restored.records == 1


# Numbers that somebody chose


async def test_numbers_beyond_what_was_ever_given_do_no_harm(autojump_clock: MockClock) -> None:
    """A client may write under any producer id; a foreign object may be called anything."""
    store = new_store()
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders")
        owner, epoch = await cluster.wait_open(tp_of(topic))
        appends = await cluster.appends(owner)
        await appends.append(tp_of(topic), epoch, batch("x", producer=(2**63 - 1, 0, 0)))
        await appends.append(tp_of(topic), epoch, batch("x", producer=(77, 0, 0)))
    folder = PartitionFolder(topic.name, topic.topic_id, tp_of(topic).partition)
    await store.put(manifest_key(folder, ManifestName(LeaderEpoch(2**31 + 5), 0)), b"no manifest")
    kv = MemoryKV()
    await rebuilt(store, kv, accept_loss=True)
    found = messages.ProducerIds.FromString(await value_of(kv, keys.PRODUCER_IDS))
    assert 10**9 < found.next < 2 * 10**9


# Names


async def test_clocks_do_not_tell_which_topic_of_a_name_was_deleted(autojump_clock: MockClock) -> None:
    """Both were created at the same time by the clock: the living one could have been thrown away."""
    store, kv = new_store(), MemoryKV()
    async with open_owner_cluster(store, ["a"], kv=kv) as cluster:
        topics = []
        for turn in range(2):
            topics.append(await cluster.create_topic("orders"))
            await produced(cluster, topics[-1], 3)
            await write_compacted(store, topics[-1], [2])
            if not turn:
                await take_snapshot(await archive_of(cluster))
                await cluster.client.delete_topics([topics[0].name])
                await trio.sleep(5)
    result = await rebuilt(store, MemoryKV())
    assert [each.topic_id for each in result.restored.topics] == [topics[1].topic_id]
    with pytest.raises(Corrupt, match="two topics"):
        await rebuilt(store, MemoryKV(), without_snapshot=True)
    result = await rebuilt(store, MemoryKV(), without_snapshot=True, accept_loss=True)
    assert len(result.restored.topics) == 1
    await bury(store, topics[0])
    result = await rebuilt(store, MemoryKV(), without_snapshot=True)
    assert [each.topic_id for each in result.restored.topics] == [topics[1].topic_id]


async def test_a_damaged_manifest_that_a_newer_one_replaced_loses_nothing(autojump_clock: MockClock) -> None:
    store = new_store()
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 8)
    old = await write_compacted(store, topic, [3], n=0)
    newest = await write_compacted(store, topic, [6], n=1)
    await flip(store, old.key, 30)
    result = await rebuilt(store, MemoryKV())
    assert (result.restored.records, result.problems) == (8, ())
    assert "corrupt" in {finding.kind for finding in (await verify(store, None)).findings}
    await flip(store, newest.key, 30)
    with pytest.raises(Corrupt, match=newest.key):
        await rebuilt(store, MemoryKV())


# Fixing


class LateSealerStore(MemoryObjectStore):
    """When `at` is read: it was collected since the LIST, and a sealer of long ago takes its free place."""

    at: tuple[SessionId, int] | None = None

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        if self.at is not None and key == chain_object_key(*self.at):
            (session, seq), self.at = self.at, None
            seal = Seal(
                session=session,
                seq=ChainSeq(seq),
                nonce=NONCE,
                created_ms=1,
                sealer_session=SEALER,
                sealer_owner=OwnerId("late"),
            )
            await self.put(start_marker_key(session, seq + 1), marker_bytes(session, seq + 1))
            await self.put(key, encode_seal(seal))
        return await super().get_suffix(key, length)


def marker_bytes(session: SessionId, seq: int) -> bytes:
    return encode_start_marker(
        StartMarker(session=session, seq=ChainSeq(seq), nonce=NONCE, created_ms=EPOCH_MS)
    )


async def test_a_void_seal_does_not_make_fix_delete_a_living_chain(autojump_clock: MockClock) -> None:
    """Rule 8: whoever finds a seal lists the markers after it."""
    store = LateSealerStore(clock=ManualClock(0))
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders")
        await produced(cluster, topic, 5)
        session = cluster.owners["a"].session
        await store.put(start_marker_key(session, 2), marker_bytes(session, 2))
        store.at = (session, 2)
        await fix(store, None, tell=lambda _line: None)
        assert store.at is None
        left = await keys_of(store, "wal/")
        assert {chain_object_key(session, seq) for seq in (3, 4)} <= set(left)
