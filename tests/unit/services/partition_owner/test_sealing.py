"""Ending chains against a store: racers agree, a live writer stops, collected prefixes are not searched."""

from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from libs.clients.metadata import MetadataClient
from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.model.errors import Corrupt, KafscaleError, Unavailable
from libs.model.ids import ChainSeq, OwnerId, SessionId
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import LIST_LIMIT_MAX, Body, ListPage, ObjectStore, PutResult
from libs.segments.keys import chain_object_key, session_prefix, start_marker_key
from libs.segments.marker import StartMarker, encode_start_marker
from libs.segments.wal import WalFooter, encode_wal
from services.partition_owner.parallel import for_each
from services.partition_owner.sealing import Sealer
from tests.support.owners import EPOCH_MS
from tests.unit.services.partition_owner.writing import SESSION, Writing

OWN = SessionId(UUID(int=77))


class Told(MetadataClient):
    """The metadata client that a sealer tells."""

    def __init__(self) -> None:
        super().__init__([])
        self.sealed: list[tuple[SessionId, int]] = []

    async def mark_session_sealed(self, session: SessionId, *, sealed_at: ChainSeq) -> None:
        self.sealed.append((session, sealed_at))
        raise Unavailable("metadata is away")  # an aid, never waited for


def sealer(store: ObjectStore, nursery: trio.Nursery, number: int = 0, told: Told | None = None) -> Sealer:
    return Sealer(
        store=store,
        metadata=told or Told(),
        owner_id=OwnerId(f"sealer-{number}"),
        clock=LoopClock(EPOCH_MS),
        rand=SeededRand(f"sealer/{number}"),
        nursery=nursery,
        on_footer=lambda _footer: None,
    )


async def put_objects(store: MemoryObjectStore, *seqs: int) -> None:
    for seq in seqs:
        encoded = encode_wal(session=SESSION, seq=ChainSeq(seq), nonce=bytes(16), created_ms=0, ranges=[])
        await store.put(chain_object_key(SESSION, seq), encoded.buffers)


@pytest.mark.parametrize("seed", range(10))
async def test_racers_agree_and_the_writer_stops(seed: int, autojump_clock: MockClock) -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    plan = FaultPlan(
        latency_seconds=(0.001, 0.1),
        lost_reply_rate=0.05,
        late_put_rate=0.05,
        late_put_seconds=(0.1, 3.0),
        timeout_seconds=0.5,
    )
    async with trio.open_nursery() as network:
        store = FaultyObjectStore(memory, plan=plan, rand=SeededRand(seed), nursery=network)
        writing = Writing(store)
        ends: list[int] = []

        async def write() -> None:
            while not writing.flusher.over.is_set():
                writing.append()
                await trio.sleep(0.01)

        async def seal(number: int) -> None:
            await trio.sleep(1.0 + number * 0.05)
            one = sealer(store, network, number)
            while True:
                try:
                    ends.append((await one.seal(SESSION, by=OWN)).end)
                    return
                except KafscaleError:
                    await trio.sleep(0.1)

        with trio.fail_after(600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writing.flusher.run)
                nursery.start_soon(write)
                for number in range(4):
                    nursery.start_soon(seal, number)
        assert len(set(ends)) == 1
        statistics = writing.flusher.statistics()
        assert statistics.durable_seq <= ends[0]
        acked = [outcome for outcome in writing.sink.outcomes.values() if isinstance(outcome, int)]
        assert acked == list(range(len(acked)))
        await trio.sleep(60)  # whatever was still on its way has landed
        assert (await sealer(memory, network, 9).seal(SESSION, by=OWN)).end == ends[0]
        network.cancel_scope.cancel()


async def test_the_search_begins_behind_the_last_index(autojump_clock: MockClock) -> None:
    writing = Writing()
    writing.scripted.holding = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        for _ in range(150):
            await writing.append_alone()
        await writing.flusher.flush()
        nursery.cancel_scope.cancel()
    writing.scripted.reads.clear()
    told = Told()
    async with trio.open_nursery() as nursery:
        one = sealer(writing.scripted, nursery, told=told)
        ended = await one.seal(SESSION, by=OWN)
        assert (ended.start, ended.end) == (128, 150)
        assert min(writing.scripted.reads) == chain_object_key(SESSION, 128)
        reads = len(writing.scripted.reads)
        assert await one.seal(SESSION, by=OWN) == ended  # known by now
        assert len(writing.scripted.reads) == reads
    assert told.sealed == [(SESSION, 150)]


async def test_a_collected_prefix_is_no_free_place() -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    await put_objects(memory, 40, 41)
    marker = StartMarker(session=SESSION, seq=ChainSeq(40), nonce=bytes(16), created_ms=0)
    await memory.put(start_marker_key(SESSION, 40), encode_start_marker(marker))
    async with trio.open_nursery() as nursery:
        assert (await sealer(memory, nursery).seal(SESSION, by=OWN)).end == 42
    assert chain_object_key(SESSION, 0) not in {
        each.key for each in (await memory.list(session_prefix(SESSION))).objects
    }


async def test_an_empty_chain_ends_at_its_start() -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with trio.open_nursery() as nursery:
        assert (await sealer(memory, nursery).seal(SESSION, by=OWN)).end == 0


async def test_damage_is_told_and_never_guessed_at() -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    await put_objects(memory, 0)
    await memory.put(chain_object_key(SESSION, 1), b"x" * 200)
    async with trio.open_nursery() as nursery:
        with pytest.raises(Corrupt):
            await sealer(memory, nursery).seal(SESSION, by=OWN)


async def test_footers_met_on_the_way_are_handed_on() -> None:
    memory = MemoryObjectStore(LoopClock(EPOCH_MS))
    await put_objects(memory, 0, 1, 2)
    met: list[WalFooter] = []
    async with trio.open_nursery() as nursery:
        one = Sealer(
            store=memory,
            metadata=Told(),
            owner_id=OwnerId("a"),
            clock=LoopClock(EPOCH_MS),
            rand=SeededRand(1),
            nursery=nursery,
            on_footer=met.append,
        )
        await one.seal(SESSION, by=OWN)
    assert sorted(footer.seq for footer in met) == [0, 1, 2]


class FailingOnce(MemoryObjectStore):
    """Refuses each read, put and list once."""

    def __init__(self) -> None:
        super().__init__(LoopClock(EPOCH_MS))
        self.met: set[tuple[str, str]] = set()
        self.lists = 0

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        self.fail_once("get", key)
        return await super().get_suffix(key, length)

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        self.fail_once("put", key)
        return await super().put_if_absent(key, body)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        self.lists += 1
        self.fail_once("list", prefix)
        return await super().list(prefix, start_after=start_after, limit=limit)

    def fail_once(self, what: str, key: str) -> None:
        if (what, key) not in self.met:
            self.met.add((what, key))
            raise Unavailable("the object store says 503 SlowDown")


class SlowPuts(MemoryObjectStore):
    """A put that has begun ends whoever waits for it: as in a thread."""

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            return await super().put_if_absent(key, body)
        raise AssertionError("nobody cancels it")


async def test_a_chain_is_sealed_again_while_a_seal_that_nobody_waits_for_still_ends(
    autojump_clock: MockClock,
) -> None:
    store = SlowPuts(LoopClock(EPOCH_MS))
    await put_objects(store, 0, 1)
    async with trio.open_nursery() as nursery:
        one = sealer(store, nursery)
        with trio.move_on_after(0.5):
            await one.seal(SESSION, by=OWN)
        assert (await one.tail_begin(SESSION)) == 0
        assert (await one.seal(SESSION, by=OWN)).end == 2
        assert (await one.tail_begin(SESSION)) is None


async def test_what_fails_is_tried_again_in_its_place(autojump_clock: MockClock) -> None:
    """Starting over, a takeover of a long tail might never end while the store refuses one in a hundred."""
    store = FailingOnce()
    await put_objects(store, *range(40))
    async with trio.open_nursery() as nursery:
        assert (await sealer(store, nursery).seal(SESSION, by=OWN)).end == 40
    # Markers and indexes before the search, markers after the seal, and one refusal of each.
    assert store.lists == 5


async def test_a_store_that_stays_away_is_told(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as network:
        store = FaultyObjectStore(
            MemoryObjectStore(LoopClock(EPOCH_MS)), plan=FaultPlan(), rand=SeededRand(1), nursery=network
        )
        store.is_down = True
        with trio.fail_after(60), pytest.raises(Unavailable):
            await sealer(store, network).seal(SESSION, by=OWN)


async def test_for_each_bounds_and_raises_the_first(autojump_clock: MockClock) -> None:
    running = peak = 0

    async def call(number: int) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        try:
            await trio.sleep(0.1)
        finally:
            running -= 1
        if number == 7:
            raise Unavailable("seven")

    await for_each([], call, at_once_max=3)
    await for_each([1], call, at_once_max=3)
    await for_each(range(7), call, at_once_max=3)
    assert peak == 3
    with pytest.raises(Unavailable, match="seven"):
        await for_each(range(20), call, at_once_max=3)
    assert running == 0
