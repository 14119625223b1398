"""What collection must never do, each told as the story in which it would."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from libs.clients.metadata import MetadataClient, PartitionRecord
from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import PartitionState
from libs.model.errors import Fenced
from libs.model.ids import (
    ChainSeq,
    LeaderEpoch,
    Offset,
    OwnerId,
    Partition,
    Revision,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)
from libs.model.references import PartitionReferences, References, SessionReferences, TopicPhase
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import ListPage
from libs.segments.keys import (
    PartitionFolder,
    SegmentName,
    chain_index_key,
    chain_object_key,
    parse_chain_object_key,
    segment_key,
    session_prefix,
    start_marker_key,
    start_markers_prefix,
    tombstone_key,
)
from libs.segments.marker import StartMarker, encode_start_marker
from libs.segments.seal import Seal, encode_seal
from libs.segments.wal import encode_wal
from services.partition_owner.collection.chains import ChainStarts
from services.partition_owner.collection.collector import collector_of
from services.partition_owner.collection.deleter import Deleter
from services.partition_owner.collection.openings import Openings
from services.partition_owner.collection.source import ReferenceSource
from services.partition_owner.collection.sweep import Sweep
from services.partition_owner.collection.unowned import Unowned
from services.partition_owner.sealing import Sealer
from tests.support.owners import EPOCH_MS, LinkedMetadata, batch, open_owner_cluster, tp_of
from tests.support.producing import wait_readable

DEAD, OWN = SessionId(UUID(int=5)), SessionId(UUID(int=6))
TOPIC = TopicId(UUID(int=7))
TP = TopicPartition(TOPIC, Partition(0))
FOLDER = PartitionFolder(TopicName("orders"), TOPIC, Partition(0))


class Told(MetadataClient):
    """Metadata that gives the answers it was told to, in order, the last one for ever."""

    def __init__(self, *answers: References) -> None:
        super().__init__([])
        self.answers = list(answers)
        self.forgotten: list[SessionId | TopicId] = []

    async def get_references(self, **_: object) -> References:
        await trio.lowlevel.checkpoint()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def mark_session_sealed(self, session: SessionId, *, sealed_at: ChainSeq) -> None:
        await trio.lowlevel.checkpoint()

    async def forget_collected(
        self, *, sessions: Sequence[SessionId] = (), topics: Sequence[TopicId] = ()
    ) -> None:
        await trio.lowlevel.checkpoint()
        self.forgotten += [*sessions, *topics]


def answer(*dead: SessionReferences, revision: int = 1, **rest: object) -> References:
    values = {"revision": Revision(revision), "cluster_id": "c", "dead_sessions": dead, **rest}
    return References(**values)  # type: ignore[arg-type]


def refs(least: int | None = None, **rest: object) -> SessionReferences:
    least_seq = None if least is None else ChainSeq(least)
    values = {"session": DEAD, "recorded": True, "least_from_seq": least_seq, **rest}
    return SessionReferences(**values)  # type: ignore[arg-type]


async def put_data(store: MemoryObjectStore, *seqs: int) -> None:
    for seq in seqs:
        encoded = encode_wal(session=DEAD, seq=ChainSeq(seq), nonce=bytes(16), created_ms=0, ranges=[])
        await store.put(chain_object_key(DEAD, seq), encoded.buffers)


async def put_seal(store: MemoryObjectStore, *seqs: int) -> None:
    for seq in seqs:
        seal = Seal(
            session=DEAD,
            seq=ChainSeq(seq),
            nonce=bytes(16),
            created_ms=0,
            sealer_session=OWN,
            sealer_owner=OwnerId("o"),
        )
        await store.put(chain_object_key(DEAD, seq), encode_seal(seal))


async def put_marker(store: MemoryObjectStore, seq: int) -> None:
    marker = StartMarker(session=DEAD, seq=ChainSeq(seq), nonce=bytes(16), created_ms=0)
    await store.put(start_marker_key(DEAD, seq), encode_start_marker(marker))


async def places(store: MemoryObjectStore) -> list[int]:
    listed = (await store.list(session_prefix(DEAD))).objects
    return [place.seq for each in listed if (place := parse_chain_object_key(each.key)) is not None]


async def markers(store: MemoryObjectStore) -> list[int]:
    return [int(each.key[-20:]) for each in (await store.list(start_markers_prefix(DEAD))).objects]


class Parts:
    """The pieces of one collector, on one store."""

    def __init__(self, store: MemoryObjectStore, metadata: MetadataClient, nursery: trio.Nursery) -> None:
        clock, rand = LoopClock(EPOCH_MS), SeededRand("collector")
        self.deleter = Deleter(store, rand=rand)
        self.starts = ChainStarts(store, self.deleter, clock=clock, rand=rand)
        self.references = ReferenceSource(metadata)
        self.sealer = Sealer(
            store=store,
            metadata=metadata,
            owner_id=OwnerId("o"),
            clock=clock,
            rand=rand,
            nursery=nursery,
            on_footer=lambda _footer: None,
        )
        self.sweep = Sweep(
            store=store, references=self.references, starts=self.starts, deleter=self.deleter, rand=rand
        )
        self.unowned = Unowned(
            store=store,
            metadata=metadata,
            references=self.references,
            sealer=self.sealer,
            starts=self.starts,
            deleter=self.deleter,
            delay_seconds=0.0,
            rand=rand,
        )


def memory() -> MemoryObjectStore:
    return MemoryObjectStore(LoopClock(EPOCH_MS))


async def test_a_dead_chain_is_judged_by_references_that_follow_its_seal(autojump_clock: MockClock) -> None:
    """It was alive after all: between the first answer and the seal it opened a partition and wrote."""
    store = memory()
    await put_data(store, *range(6))
    metadata = Told(answer(refs()), answer(refs(least=2)))
    async with trio.open_nursery() as nursery:
        assert await Parts(store, metadata, nursery).unowned.round(by=OWN)
    assert await places(store) == [*range(2, 6), 6, 7, 8, 9, 10]
    assert metadata.forgotten == []


async def test_two_collectors_at_once_do_what_one_does(autojump_clock: MockClock) -> None:
    store = memory()
    await put_data(store, *range(200))
    metadata = Told(answer(refs()))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: Parts(store, metadata, nursery).unowned.round(by=OWN))
    assert (await places(store), await markers(store)) == ([200], [200])
    assert set(metadata.forgotten) == {DEAD}


async def test_a_sealer_in_a_collected_prefix_is_led_out(autojump_clock: MockClock) -> None:
    """It looked before the chain was collected, and seals where that looks free: void, and swept away."""
    store = memory()
    await put_data(store, *range(40))
    async with trio.open_nursery() as nursery:
        parts = Parts(store, Told(answer(refs())), nursery)
        late = Parts(Late(store, parts), Told(answer()), nursery)
        assert (await late.sealer.seal(DEAD, by=OWN)).end == 40
        assert min(await places(store)) < 40
        await parts.sweep.sweep()
    assert (await places(store), await markers(store)) == ([40], [40])


class Late(MemoryObjectStore):
    """Between this sealer's first LIST and its first read the chain is collected."""

    def __init__(self, other: MemoryObjectStore, parts: Parts) -> None:
        self.__dict__.update(other.__dict__)
        self._parts: Parts | None = parts

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.unowned.round(by=OWN)
        return await super().get_suffix(key, length)


class Moving(MemoryObjectStore):
    """The chain's owner moves its start while a sweep looks whether the place of the old one is a seal."""

    def __init__(self, other: MemoryObjectStore) -> None:
        self.__dict__.update(other.__dict__)
        self.to_move = True

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        if self.to_move:
            self.to_move = False
            await put_marker(self, 10)
            await self.delete([chain_object_key(DEAD, seq) for seq in range(5, 10)])
            await put_seal(self, 5, 6, 7, 8, 9)  # a sealer with stale metadata
        return await super().get_suffix(key, length)


async def test_a_seal_below_a_newer_marker_is_no_end(autojump_clock: MockClock) -> None:
    """Rule 8 for a sweep: whoever finds a seal lists the markers after it. Else a live chain were void."""
    store = memory()
    await put_data(store, *range(5, 20))
    await put_marker(store, 5)
    async with trio.open_nursery() as nursery:
        await Parts(Moving(store), Told(answer()), nursery).starts.sweep(DEAD)
    assert (await places(store), await markers(store)) == ([*range(10, 20)], [10])


async def test_a_wiped_metadata_store_empties_no_bucket(autojump_clock: MockClock) -> None:
    store = memory()
    name = SegmentName(Offset(0), LeaderEpoch(0), bytes(16))
    await put_data(store, 0, 1, 2)
    await put_seal(store, 3, 4, 5)
    for key in (segment_key(FOLDER, name), "photos/cat.jpg", chain_index_key(DEAD, 0), "wal/notes", "wal/~~"):
        await store.put(key, b"x")
    before = {each.key for each in (await store.list("")).objects}
    metadata = Told(answer(topics={TOPIC: TopicPhase.UNKNOWN}))
    async with trio.open_nursery() as nursery:
        parts = Parts(store, metadata, nursery)
        await parts.unowned.round(by=OWN)
        await parts.sweep.sweep()
        assert {each.key for each in (await store.list("")).objects} == before
        # With a tombstone the topic is known to be gone, by whatever store.
        await store.put(tombstone_key(TOPIC), b"")
        await parts.sweep.sweep()
        left = {each.key for each in (await store.list("")).objects}
        assert before - left == {segment_key(FOLDER, name)}


async def test_a_store_that_went_back_is_not_listened_to() -> None:
    source = ReferenceSource(Told(answer(revision=9), answer(revision=8), answer(revision=10)))
    await source.get()
    with pytest.raises(Fenced):
        await source.get()
    await source.get()
    other = ReferenceSource(Told(answer(), answer(revision=5, cluster_id="d")))
    await other.get()
    with pytest.raises(Fenced):
        await other.get()


async def test_orphans_are_judged_by_what_is_read_after_the_list(autojump_clock: MockClock) -> None:
    """Their epoch is over by the answer that follows the LIST; a present one's uploads stay."""
    store = memory()
    old, new = (segment_key(FOLDER, SegmentName(Offset(0), LeaderEpoch(e), bytes(16))) for e in (3, 4))
    for key in (old, new):
        await store.put(key, b"x")
    held = PartitionReferences(session=OWN, leader_epoch=LeaderEpoch(4), opened=True, manifest_key="")
    asked: list[bool] = []

    class Watched(MemoryObjectStore):
        async def list(self, prefix: str, **rest: object) -> ListPage:
            asked.append(False)
            return await super().list(prefix, **rest)  # type: ignore[arg-type]

    class Asked(Told):
        async def get_references(self, **rest: object) -> References:
            asked.append(True)
            return await super().get_references(**rest)

    watched = Watched(LoopClock(EPOCH_MS))
    watched.__dict__.update(store.__dict__)
    metadata = Asked(answer(partitions={TP: held}, topics={TOPIC: TopicPhase.EXISTS}))
    async with trio.open_nursery() as nursery:
        await Parts(watched, metadata, nursery).sweep.sweep_folders([FOLDER])
    assert asked == [False, True]
    assert [each.key for each in (await store.list("")).objects] == [new]


def test_one_owner_is_elected_by_all() -> None:
    names = [OwnerId(f"owner-{number}") for number in range(5)]
    elected = collector_of(names)
    assert elected in names
    assert collector_of(reversed(names)) == elected
    assert collector_of([name for name in names if name != elected]) != elected
    assert collector_of([]) is None


def test_an_opening_that_was_begun_again_needs_what_it_needed_first() -> None:
    seqs = iter([3, 8])
    openings = Openings(lambda: ChainSeq(next(seqs)))
    for _ in range(2):
        openings.begin(TP, LeaderEpoch(2))
    assert openings.pending() == {(TP, LeaderEpoch(2)): 3}
    openings.settle([(TP, LeaderEpoch(2)), (TP, LeaderEpoch(1))])
    assert openings.pending() == {}


def test_an_attempt_that_sent_nothing_needs_nothing_once_the_next_one_begins() -> None:
    seqs, key = iter([3, 8, 9]), (TP, LeaderEpoch(2))
    openings = Openings(lambda: ChainSeq(next(seqs)))
    openings.begin(*key)
    openings.begin_attempt(*key)
    assert openings.pending() == {key: 8}
    openings.sending(*key)
    openings.begin_attempt(*key)
    assert openings.pending() == {key: 8}
    openings.settle([key])
    openings.begin_attempt(*key)
    assert openings.pending() == {}


async def test_an_open_transaction_on_its_way_holds_the_chain(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner's open position arrives minutes after it was sent; its chain has gone on by then."""
    options: Mapping[str, float] = {
        "compaction_age_seconds": 5.0,
        "compaction_check_seconds": 1.0,
        "collection_check_seconds": 2.0,
        "collection_delay_seconds": 0.0,
    }
    store = memory()
    async with open_owner_cluster(store, []) as cluster:
        owner = await cluster.start("a", options=options)
        busy = tp_of(await cluster.create_topic("busy"))
        _, epoch = await cluster.wait_open(busy)
        held, send = trio.Event(), LinkedMetadata.open_partition

        async def delayed(
            self: LinkedMetadata, at: TopicPartition, read: PartitionRecord, state: PartitionState
        ) -> PartitionRecord:
            await held.wait()
            return await send(self, at, read, state)

        monkeypatch.setattr(LinkedMetadata, "open_partition", delayed)
        slow = tp_of(await cluster.create_topic("slow"))
        appends = await cluster.appends(owner)
        for number in range(100):
            await appends.append(busy, epoch, batch(f"{number}"))
        await trio.sleep(300)
        assert (await store.list(start_markers_prefix(owner.session))).objects == ()
        held.set()
        _, epoch = await cluster.wait_open(slow)
        await appends.append(slow, epoch, batch("first"))
        await cluster.start("b", options=options)
        await owner.kill()
        assert await wait_readable(cluster, slow) == ["first"]
