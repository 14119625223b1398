"""What opening a partition must get right: faults found by review, kept as regressions."""

from typing import ClassVar, cast

import trio
from trio.testing import MockClock

from libs.clients.metadata import MetadataClient, PartitionRecord
from libs.clients.view import ClusterView
from libs.concurrency.clock import LoopClock, ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Assignment, PartitionState
from libs.model.errors import Unavailable
from libs.model.ids import LeaderEpoch, OwnerId, Revision, TopicName, TopicPartition
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.keys import chain_object_key
from services.metadata import keys
from services.metadata.kv.port import Delete, Put
from services.partition_owner.assignments import Hold, Wanted
from services.partition_owner.collection.openings import Openings
from services.partition_owner.footers import FooterReader
from services.partition_owner.opening import Opener
from services.partition_owner.producers import ProducerStates
from services.partition_owner.sealing import Sealer
from services.partition_owner.topic_objects import TopicObjects
from tests.support.owners import EPOCH_MS, OwnerCluster, batch, open_owner_cluster, tp_of
from tests.support.producing import read_all
from tests.unit.services.partition_owner.writing import SESSION, TOPIC, Writing


async def hide_topic(cluster: OwnerCluster, name: str) -> None:
    """Somebody deletes the topic's key in the store by hand, and puts it back."""
    kv = cluster.metadata.kv
    item = await kv.get(keys.topic(TopicName(name)))
    assert item is not None
    await kv.txn([], [Delete(key=item.key)])
    await trio.sleep(1.0)
    await kv.txn([], [Put(key=item.key, value=item.value)])
    await trio.sleep(1.0)


async def test_an_epoch_that_is_opened_again_keeps_what_it_appended(autojump_clock: MockClock) -> None:
    """Else its offsets would be given twice: two values of one offset."""
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), ["a"]) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("x", producer=(7, 0, 0))) == 0
        await hide_topic(cluster, "orders")
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("x", producer=(7, 0, 0))) == 0
        assert await appends.append(tp, epoch, batch("y", producer=(7, 0, 1))) == 1
        assert await read_all(owner, tp) == ["x", "y"]
        await owner.kill()
        await cluster.start("b")
        owner, _ = await cluster.wait_open(tp)
        assert await read_all(owner, tp) == ["x", "y"]


async def test_a_damaged_partition_does_not_keep_others_from_being_opened(autojump_clock: MockClock) -> None:
    """It is tried again for ever; a place among those that open at the same time is not its own."""
    store = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with open_owner_cluster(store, ["a"]) as cluster:
        damaged = tp_of(await cluster.create_topic("damaged"))
        owner, epoch = await cluster.wait_open(damaged)
        appends = await cluster.appends(owner)
        await appends.append(damaged, epoch, batch("x"))
        session = owner.session
        await owner.kill()
        await store.put(chain_object_key(session, 0), b"rubbish")
        await cluster.start("b", options={"openings_max": 1})
        await trio.sleep(30)
        later = tp_of(await cluster.create_topic("later"))
        with trio.fail_after(30):
            owner, epoch = await cluster.wait_open(later)
        appends = await cluster.appends(owner)
        assert await appends.append(later, epoch, batch("y")) == 0


class LostOpening:
    """Metadata where the first opening succeeds and its reply is lost, while the partition is asked back."""

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self.state: PartitionState | None = None

    async def get_partition(self, at: TopicPartition) -> PartitionRecord:
        await trio.lowlevel.checkpoint()
        assignment = Assignment(
            topic_id=at.topic_id,
            partition=at.partition,
            owner_id=OwnerId("a"),
            session=SESSION,
            leader_epoch=LeaderEpoch(3),
        )
        return PartitionRecord(
            assignment=assignment,
            assignment_revision=Revision(1),
            state=self.state,
            state_revision=Revision(0 if self.state is None else 2),
        )

    async def open_partition(self, at: TopicPartition, _: PartitionRecord, state: PartitionState) -> None:
        self.state = state
        await trio.lowlevel.checkpoint()
        self.hold.want(Wanted.RELEASED)
        raise Unavailable("no answer", outcome_unknown=True)


class OneTopic:
    topics: ClassVar = {TOPIC.topic_id: TOPIC}


async def test_an_opening_whose_reply_is_lost_is_known_before_it_is_given_back(
    autojump_clock: MockClock,
) -> None:
    """Given back as never opened, its open position would make the next owner seal a chain that is alive."""
    writing = Writing()
    tp = writing.partition.tp
    hold = Hold(tp, LeaderEpoch(3))
    metadata = cast(MetadataClient, LostOpening(hold))
    async with trio.open_nursery() as nursery:
        opener = Opener(
            flusher=writing.flusher,
            store=writing.scripted,
            metadata=metadata,
            view=cast(ClusterView, OneTopic()),
            sealer=cast(Sealer, None),
            footers=FooterReader(
                store=writing.scripted, cache_bytes_max=1 << 20, gets_max=1, nursery=nursery
            ),
            new_producers=lambda: ProducerStates(expiration_seconds=1 << 40, count_max=10),
            topics=TopicObjects(store=writing.scripted, clock=ManualClock(0), nursery=nursery),
            openings=Openings(lambda: writing.flusher.next_seq),
            rand=SeededRand("opening"),
        )
        opened = await opener.open(tp, LeaderEpoch(3), new_scope=hold.new_scope, places=trio.Semaphore(1))
        assert opened is not None
        assert opened.first_seq == 0
