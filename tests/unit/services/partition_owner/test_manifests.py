"""A manifest is the one that its key names, or it is Corrupt; the record that names it may be old."""

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from libs.clients.metadata import PartitionRecord
from libs.concurrency.clock import LoopClock, ManualClock
from libs.model.cluster import Assignment, PartitionState
from libs.model.errors import Corrupt, NotFound
from libs.model.ids import LeaderEpoch, Offset, Partition, Revision, TopicPartition
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import ManifestName, PartitionFolder, manifest_key
from libs.segments.manifest import Manifest, encode_manifest
from services.partition_owner.list_offsets import LATEST
from services.partition_owner.manifests import read_manifest
from services.partition_owner.wake import Wake
from tests.support.owners import EPOCH_MS, batch, list_offset, open_owner_cluster, tp_of
from tests.unit.services.partition_owner.compacted import FOLDER, OWNER, TOPIC, TP, Compacted


def empty_manifest(tp: TopicPartition = TP, *, epoch: int = 7, n: int = 2, end: int = 4) -> Manifest:
    return Manifest(tp=tp, leader_epoch=epoch, n=n, created_ms=0, log_start=0, end_offset=end)


KEY = manifest_key(FOLDER, ManifestName(LeaderEpoch(7), 2))


@pytest.mark.parametrize(
    "other",
    [
        empty_manifest(TopicPartition(TP.topic_id, Partition(1))),
        empty_manifest(epoch=6),
        empty_manifest(n=1),
    ],
    ids=["another partition", "another epoch", "another n"],
)
async def test_another_manifest_is_corrupt(other: Manifest) -> None:
    store = MemoryObjectStore(ManualClock(0))
    await store.put(KEY, encode_manifest(other))
    with pytest.raises(Corrupt):
        await read_manifest(store, KEY, TP)


async def test_the_one_that_is_named() -> None:
    store = MemoryObjectStore(ManualClock(0))
    with pytest.raises(NotFound):
        await read_manifest(store, KEY, TP)
    with pytest.raises(Corrupt):
        await read_manifest(store, "orders/manifest", TP)
    await store.put(KEY, encode_manifest(empty_manifest()))
    assert await read_manifest(store, KEY, TP) == empty_manifest()


async def test_a_manifest_that_is_not_there_is_looked_for_again(autojump_clock: MockClock) -> None:
    """The state was read before it was replaced, and what it named collected."""
    store = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with open_owner_cluster(store, ["a"]) as cluster:
        topic = await cluster.create_topic("orders")
        tp = tp_of(topic)
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        await appends.append(tp, epoch, batch("x", "y"))
        record = await cluster.client.get_partition(tp)
        assert record.state is not None
        folder = PartitionFolder(topic.name, tp.topic_id, tp.partition)
        key = manifest_key(folder, ManifestName(LeaderEpoch(epoch), 0))
        state = replace(record.state, manifest_key=key)
        await cluster.client.commit_partition(tp, record, state)
        await owner.kill()
        await cluster.start("b")
        with trio.move_on_after(30) as scope:
            await cluster.wait_open(tp)
        assert scope.cancelled_caught
        await store.put(key, encode_manifest(empty_manifest(tp, epoch=epoch, n=0, end=2)))
        owner, _ = await cluster.wait_open(tp)
        assert (await list_offset(owner, tp, LATEST)).offset == 2


def record_of(made: Compacted, *, log_start: int, revision: int) -> PartitionRecord:
    return PartitionRecord(
        assignment=Assignment(
            topic_id=TOPIC.topic_id,
            partition=TP.partition,
            owner_id=OWNER,
            session=made.partition.session,
            leader_epoch=made.partition.leader_epoch,
        ),
        assignment_revision=Revision(1),
        state=PartitionState(log_start_offset=Offset(log_start), manifest_key=KEY),
        state_revision=Revision(revision),
    )


async def test_what_was_committed_is_served_at_once() -> None:
    """Who waits for records below a new log start is told; the age of what is left begins anew."""
    made = Compacted()
    for at in range(3):
        await made.append([([at, at], 10)])
    partition = made.partition
    partition.opened(record_of(made, log_start=0, revision=1))
    assert partition.uncompacted_since is not None
    wake = Wake()
    partition.readers.add(wake)
    woken = trio.Event()

    async def wait() -> None:
        await wake.wait()
        woken.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        partition.committed(record_of(made, log_start=3, revision=2), empty_manifest(end=6))
        await woken.wait()
    assert (partition.log.log_start, partition.log.compacted_end) == (3, 6)
    assert (partition.manifest, partition.manifest_key) == (empty_manifest(end=6), KEY)
    assert partition.uncompacted_since is None
    partition.committed(record_of(made, log_start=2, revision=3), partition.manifest)
    assert (partition.log.log_start, partition.log.version) == (3, 1)
