"""Faults that a review of compaction found, each by what a user would have seen."""

import threading
from struct import pack_into

import pytest
import trio
from crc32c import crc32c
from trio.testing import MockClock

from libs.clients.metadata import MetadataClient, PartitionRecord
from libs.concurrency.threads import Threads
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, TopicPartition
from libs.records.layout import CRC_FROM, RECORDS_PER_BATCH_MAX
from libs.segments.keys import chain_object_key
from libs.segments.layout import SEGMENT_RECORDS_MAX
from libs.segments.manifest import Manifest, encode_manifest
from services.partition_owner.compaction import compactor
from services.partition_owner.list_offsets import RECORDS_POOL
from tests.support.bucket import flip
from tests.support.owners import batch, open_owner_cluster, tp_of
from tests.support.producing import read_all
from tests.unit.services.partition_owner.compaction.support import (
    EAGER,
    HookedStore,
    compaction,
    delete_records,
    read_from,
    restart,
    wait_compacted,
)


async def test_what_did_not_fit_into_a_segment_does_not_wait_for_another_age(
    autojump_clock: MockClock,
) -> None:
    """With small segments a partition fell behind, and stayed behind when nothing was written any more."""
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options={**EAGER, "compaction_age_seconds": 60.0})
        tp = tp_of(await cluster.create_topic("orders", configs={"segment.bytes": "65536"}))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        values = [f"{number}" * 30_000 for number in range(10)]
        for value in values:
            await appends.append(tp, epoch, batch(value))
        await trio.sleep(75)
        assert compaction(owner).uncompacted_bytes == 0
        assert await read_all(owner, tp) == values


async def test_who_is_far_behind_does_not_keep_the_others_waiting(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(HookedStore(), []) as cluster:
        await cluster.start("a", options={**EAGER, "compaction_age_seconds": 60.0, "compactions_max": 1})
        configs = {"segment.bytes": "65536"}
        busy = tp_of(await cluster.create_topic("busy", configs=configs))
        quiet = tp_of(await cluster.create_topic("quiet"))
        owner, epoch = await cluster.wait_open(quiet)
        _, busy_epoch = await cluster.wait_open(busy)
        appends = await cluster.appends(owner)
        for _ in range(3):
            await appends.append(busy, busy_epoch, batch("x" * 60_000))
        await trio.sleep(20)
        await appends.append(quiet, epoch, batch("q"))
        store = cluster.store
        assert isinstance(store, HookedStore)

        async def append_more(key: str) -> None:
            if key.endswith(".kfm") and "busy" in key:
                await trio.sleep(1)
                await appends.append(busy, busy_epoch, batch("x" * 60_000))

        store.after = append_more
        await trio.sleep(100)
        manifests = store.compacted_keys((".kfm",))
        assert any("quiet" in key for key in manifests)
        assert "busy" in manifests[-1]


async def test_damage_below_the_log_start_holds_nothing_up(autojump_clock: MockClock) -> None:
    """DeleteRecords past what is damaged is the way out; compaction read what nobody can read any more."""
    store = HookedStore()
    async with open_owner_cluster(store, []) as cluster:
        owner = await cluster.start("a", options={**EAGER, "compaction_age_seconds": 3600.0})
        tp = tp_of(await cluster.create_topic("orders"))
        _, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(4):
            await appends.append(
                tp, epoch, batch(f"value-{number}", producer=(7 + number // 2, 0, number % 2))
            )
        damaged = chain_object_key(owner.session, ChainSeq(1))
        data = bytearray(await store.get(damaged))
        data[data.index(b"value-1")] ^= 1
        await restart(cluster, owner, "b")
        await store.put(damaged, bytes(data))
        owner, epoch = await cluster.wait_open(tp)
        await trio.sleep(30)
        assert compaction(owner).segments == 0
        assert await delete_records(owner, tp, 2) == 2
        await trio.sleep(3600)
        await wait_compacted(owner, segments=1)
        await restart(cluster, owner, "c")
        owner, epoch = await cluster.wait_open(tp)
        assert await read_from(owner, tp, 2) == {2: "value-2", 3: "value-3"}
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("value-1", producer=(7, 0, 1))) == 1
        assert await appends.append(tp, epoch, batch("value-4", producer=(7, 0, 2))) == 4


async def test_many_producers_are_written_down_in_a_thread(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand of them, as many as a partition may have, kept everybody waiting for 0.7 s."""
    threads: list[threading.Thread] = []

    def encode(manifest: Manifest) -> bytes:
        threads.append(threading.current_thread())
        return encode_manifest(manifest)

    monkeypatch.setattr(compactor, "encode_manifest", encode)
    monkeypatch.setattr(compactor, "INLINE_BYTES_MAX", 2000)
    async with open_owner_cluster(HookedStore(), []) as cluster:
        cluster.threads = Threads({RECORDS_POOL: 1})
        owner = await cluster.start("a", options=EAGER)
        tp = tp_of(await cluster.create_topic("orders"))
        _, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        await appends.append(tp, epoch, batch("few", producer=(1, 0, 0)))
        await wait_compacted(owner)
        for number in range(10):
            await appends.append(tp, epoch, batch("many", producer=(7 + number, 0, 0)))
        await wait_compacted(owner)
    assert threads[0] is threading.main_thread()
    assert threads[-1] is not threading.main_thread()


def crowded() -> bytes:
    """A compressed batch that says that it has as many records as one may have."""
    data = bytearray(batch("x"))
    data[21:23] = (4).to_bytes(2, "big")
    pack_into(">i", data, 23, RECORDS_PER_BATCH_MAX - 1)
    pack_into(">i", data, 57, RECORDS_PER_BATCH_MAX)
    pack_into(">I", data, 17, crc32c(bytes(data[CRC_FROM:])))
    return bytes(data)


async def test_more_records_than_a_segment_can_count(autojump_clock: MockClock) -> None:
    """A hundred batches of a few bytes each ended every owner that came to have them."""
    count = SEGMENT_RECORDS_MAX // RECORDS_PER_BATCH_MAX + 5
    async with open_owner_cluster(HookedStore(), []) as cluster:
        owner = await cluster.start("a", options={**EAGER, "compaction_age_seconds": 60.0})
        tp = tp_of(await cluster.create_topic("orders"))
        _, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for _ in range(count):
            await appends.append(tp, epoch, crowded())
        await wait_compacted(owner, segments=2)
        for _ in range(3):
            await appends.append(tp, epoch, batch("x"))
            await trio.sleep(100)
        assert compaction(owner).failures == 0
        assert compaction(owner).uncompacted_bytes == 0


async def test_a_range_that_does_not_fit_into_any_segment_is_an_alarm_and_no_end(
    autojump_clock: MockClock,
) -> None:
    count = SEGMENT_RECORDS_MAX // RECORDS_PER_BATCH_MAX + 5
    async with open_owner_cluster(HookedStore(), []) as cluster:
        options = {**EAGER, "flush_linger_ms": 50.0, "flush_in_flight_max": 1}
        owner = await cluster.start("a", options=options)
        tp = tp_of(await cluster.create_topic("orders"))
        _, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        keys = [appends.send(tp, epoch, crowded()) for _ in range(count)]
        for key in keys:
            await appends.outcome(key)
        await trio.sleep(30)
        assert compaction(owner).failures > 0
        end = await appends.append(tp, epoch, batch("y"))
        assert await delete_records(owner, tp, end) == end
        await wait_compacted(owner, segments=1)


async def test_an_owner_that_was_replaced_raises_no_alarm(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is cut off, and what it would compact was compacted and collected by others."""
    collecting = {
        "compaction_behind_seconds": 5.0,
        "collection_check_seconds": 10.0,
        "collection_delay_seconds": 10.0,
    }
    store = HookedStore()
    async with open_owner_cluster(store, []) as cluster:
        options = {**collecting, "compaction_age_seconds": 400.0, "tail_cache_bytes_max": 1 << 20}
        stale = await cluster.start("a", options=options)
        tp = tp_of(await cluster.create_topic("orders"))
        _, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(stale)
        for _ in range(20):
            await appends.append(tp, epoch, batch("x" * 100_000))
        session = stale.session
        stale.link.cut()
        await cluster.start("b", options=collecting)
        await trio.sleep(250)
        assert not (await store.list(chain_object_key(session, 0))).objects
        await trio.sleep(250)
        assert stale.session != session
    assert "compaction_corrupt" not in capsys.readouterr().out


async def test_an_owner_that_has_not_heard_of_a_deletion_raises_no_alarm(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its session is good, its partition open as far as it knows, and the segments are swept."""
    store = HookedStore()
    read, swept = trio.Event(), trio.Event()

    async def hold(key: str) -> None:
        if key.endswith(".kfs"):
            read.set()
            await swept.wait()

    async with open_owner_cluster(store, []) as cluster:
        owner = await cluster.start("a", options=EAGER)
        topic = await cluster.create_topic("orders")
        tp = tp_of(topic)
        _, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        await appends.append(tp, epoch, batch("first"))
        await wait_compacted(owner, segments=1)
        store.before_get = hold
        await appends.append(tp, epoch, batch("second"))
        await read.wait()
        owner.link.deafen()
        await cluster.client.delete_topics([topic.topic_id])
        await store.delete([each for each in store.put_keys if each.endswith((".kfs", ".index", ".kfm"))])
        swept.set()
        await trio.sleep(10)
        assert tp in owner.statuses()
        assert compaction(owner).failures > 0
    printed = capsys.readouterr().out
    assert "compaction_ended" in printed
    assert "compaction_corrupt" not in printed


async def test_an_alarm_that_metadata_can_not_check_is_raised(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment is damaged, and so is what the metadata store says of its partition."""
    store = HookedStore()

    async def damaged(_: MetadataClient, at: TopicPartition) -> PartitionRecord:
        raise Corrupt(f"the record of {at} can't be read")

    async def damage(key: str) -> None:
        if key.endswith(".kfs"):
            store.before_get = None
            await flip(store, key, at=-1)
            monkeypatch.setattr(MetadataClient, "get_partition", damaged)

    async with open_owner_cluster(store, []) as cluster:
        owner = await cluster.start("a", options=EAGER)
        tp = tp_of(await cluster.create_topic("orders"))
        _, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        await appends.append(tp, epoch, batch("first"))
        await wait_compacted(owner, segments=1)
        store.before_get = damage
        await appends.append(tp, epoch, batch("second"))
        await trio.sleep(10)
    printed = capsys.readouterr().out
    assert "alarm_not_checked" in printed
    assert "compaction_corrupt" in printed
