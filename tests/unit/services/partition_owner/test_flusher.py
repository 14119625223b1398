"""The write side of a session: order of acknowledgement, rule 5 in each of its clauses, fences, the end."""

from uuid import UUID

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from libs.model.errors import KafscaleError, Moved, Reason, Unavailable
from libs.model.ids import ChainSeq, OwnerId, SessionId
from libs.segments.index import parse_index
from libs.segments.keys import chain_index_key, chain_object_key
from libs.segments.seal import Seal, encode_seal, parse_chain_object
from libs.segments.wal import WalFooter, encode_wal
from services.partition_owner.registry import moved
from tests.support.owners import batch
from tests.unit.services.partition_owner.writing import SESSION, Writing, partition

SEAL = Seal(
    session=SESSION,
    seq=ChainSeq(0),
    nonce=b"s" * 16,
    created_ms=0,
    sealer_session=SessionId(UUID(int=99)),
    sealer_owner=OwnerId("b"),
)


def key(seq: int) -> str:
    return chain_object_key(SESSION, seq)


def assert_unknown(outcome: int | KafscaleError) -> None:
    assert isinstance(outcome, Unavailable)
    assert outcome.outcome_unknown
    assert outcome.reason is Reason.SESSION_OVER


async def test_acknowledged_in_order_only(autojump_clock: MockClock) -> None:
    writing = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        for _ in range(3):
            await writing.append_alone()
        puts = await writing.scripted.wait_puts(3)
        puts[1].land()
        puts[2].land()
        await wait_all_tasks_blocked()
        assert writing.sink.outcomes == {}
        assert writing.partition.log.durable == 0
        assert (writing.partition.log.assigned, writing.partition.log.in_flight) == (3, 3)
        puts[0].land()
        await wait_all_tasks_blocked()
        assert writing.sink.outcomes == {0: 0, 1: 1, 2: 2}
        assert writing.sink.order == [0, 1, 2]
        assert writing.partition.log.durable == 3
        nursery.cancel_scope.cancel()


async def test_the_window_counts_from_the_first_that_did_not_succeed(autojump_clock: MockClock) -> None:
    writing = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        for _ in range(4):
            await writing.append_alone()
        puts = await writing.scripted.wait_puts(4)
        for put in puts[1:]:
            put.land()
        writing.append()
        await trio.sleep(10)
        assert len(writing.scripted.puts) == 4  # a sealer counts on it
        puts[0].land()
        await writing.scripted.wait_puts(5)
        nursery.cancel_scope.cancel()


async def test_refusals_are_sent_again_without_a_read(autojump_clock: MockClock) -> None:
    writing = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        writing.append()
        for count in range(1, 6):
            puts = await writing.scripted.wait_puts(count)
            puts[-1].fail(Unavailable("503"))
        puts = await writing.scripted.wait_puts(6)
        assert {(put.key, put.body) for put in puts} == {(key(0), puts[0].body)}
        assert writing.scripted.reads == []
        puts[-1].land()
        await wait_all_tasks_blocked()
        assert writing.sink.outcomes == {0: 0}
        nursery.cancel_scope.cancel()


async def test_after_two_failures_without_a_status_it_reads_first(autojump_clock: MockClock) -> None:
    writing = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        writing.append()
        (await writing.scripted.wait_puts(1))[0].lose_reply(reaches=False)
        puts = await writing.scripted.wait_puts(2)
        assert writing.scripted.reads == []
        puts[1].lose_reply(reaches=True)
        await trio.sleep(30)
        assert writing.sink.outcomes == {0: 0}
        assert writing.scripted.reads == [key(0)]
        assert len(puts) == 2
        nursery.cancel_scope.cancel()


async def test_a_taken_key_that_is_mine_had_succeeded(autojump_clock: MockClock) -> None:
    writing = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        writing.append()
        (await writing.scripted.wait_puts(1))[0].lose_reply(reaches=True)
        (await writing.scripted.wait_puts(2))[1].land()
        await wait_all_tasks_blocked()
        assert writing.sink.outcomes == {0: 0}
        assert not writing.flusher.over.is_set()
        nursery.cancel_scope.cancel()


def foreign(seq: int) -> bytes:
    """An empty chain object of somebody else who uses this session's name."""
    encoded = encode_wal(session=SESSION, seq=ChainSeq(seq), nonce=b"f" * 16, created_ms=0, ranges=[])
    return b"".join(encoded.buffers)


@pytest.mark.parametrize(
    "taken_by",
    [
        pytest.param(encode_seal(SEAL), id="seal"),
        pytest.param(foreign(0), id="foreign"),
        pytest.param(b"no chain object", id="garbage"),
        pytest.param(None, id="nothing"),
    ],
)
async def test_any_other_taken_key_ends_the_session(
    taken_by: bytes | None, autojump_clock: MockClock
) -> None:
    writing = Writing()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writing.flusher.run)
            first = await writing.append_alone()
            second = await writing.append_alone()
            puts = await writing.scripted.wait_puts(2)
            puts[1].land()
            waiting = writing.append()
            if taken_by is None:
                # It landed, was collected, and its reply says that the key was taken.
                writing.scripted.says_exists = True
            else:
                await writing.scripted.memory.put(key(0), taken_by)
            puts[0].land()
            await writing.flusher.over.wait()
        for number in (first, second, waiting):
            assert_unknown(writing.sink.outcomes[number])
        late = writing.append()
        assert_unknown(writing.sink.outcomes[late])
        assert writing.partition.log.durable == 0
        with pytest.raises(Unavailable):
            await writing.flusher.fence()


async def test_fences_share_one_empty_object_begun_after_them(autojump_clock: MockClock) -> None:
    writing = Writing()
    passed: list[int] = []

    async def fence(number: int) -> None:
        await writing.flusher.fence()
        passed.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        await writing.append_alone()
        for number in range(3):
            nursery.start_soon(fence, number)
        puts = await writing.scripted.wait_puts(2)
        puts[0].land()
        await wait_all_tasks_blocked()
        assert passed == []  # that one began before them
        puts[1].land()
        await wait_all_tasks_blocked()
        assert sorted(passed) == [0, 1, 2]
        assert len(writing.scripted.puts) == 2
        stored = parse_chain_object(await writing.scripted.memory.get(key(1)))
        assert isinstance(stored, WalFooter)
        assert stored.ranges == ()
        nursery.cancel_scope.cancel()


async def test_flush_is_everything_accepted_so_far(autojump_clock: MockClock) -> None:
    writing = Writing(puts_per_second=0.0)
    flushed: list[bool] = []

    async def flush() -> None:
        await writing.flusher.flush()
        flushed.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        await writing.append_alone()
        writing.append()
        nursery.start_soon(flush)
        puts = await writing.scripted.wait_puts(2)
        puts[1].land()
        await wait_all_tasks_blocked()
        assert not flushed
        puts[0].land()
        await wait_all_tasks_blocked()
        assert flushed
        assert trio.current_time() < 0.25
        nursery.cancel_scope.cancel()


async def test_refused_is_what_has_no_offsets(autojump_clock: MockClock) -> None:
    writing = Writing()
    other = partition(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        for _ in range(4):
            await writing.append_alone()  # the window is full
        mine, others = writing.append(), writing.append(to=other)
        writing.flusher.refuse(writing.partition, lambda: moved(writing.partition.tp))
        assert isinstance(writing.sink.outcomes[mine], Moved)
        for put in await writing.scripted.wait_puts(4):
            put.land()
        (await writing.scripted.wait_puts(5))[4].land()
        await wait_all_tasks_blocked()
        assert writing.sink.outcomes[others] == 0
        assert writing.partition.log.assigned == 4
        nursery.cancel_scope.cancel()


async def test_duplicate_of_what_is_in_flight_waits_for_its_original(autojump_clock: MockClock) -> None:
    writing = Writing()
    data = batch("x", "y", producer=(7, 0, 0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        await writing.append_alone(batch("first"))
        original = await writing.append_alone(data)
        duplicate = writing.append(data)
        puts = await writing.scripted.wait_puts(2)
        await trio.sleep(5)
        assert len(puts) == 2  # nothing to write for it
        puts[1].land()
        await wait_all_tasks_blocked()
        assert writing.sink.outcomes == {}
        puts[0].land()
        await wait_all_tasks_blocked()
        assert writing.sink.outcomes == {0: 0, original: 1, duplicate: 1}
        late = writing.append(data)
        await trio.sleep(1)
        assert writing.sink.outcomes[late] == 1
        nursery.cancel_scope.cancel()


async def test_an_append_is_refused_whole(autojump_clock: MockClock) -> None:
    """A second batch out of order leaves nothing of the first behind."""
    writing = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        bad = writing.append(batch("a", producer=(7, 0, 0)) + batch("c", producer=(7, 0, 2)))
        good = writing.append(batch("a", producer=(7, 0, 0)) + batch("b", producer=(7, 0, 1)))
        (await writing.scripted.wait_puts(1))[0].land()
        await wait_all_tasks_blocked()
        refused = writing.sink.outcomes[bad]
        assert isinstance(refused, KafscaleError)
        assert refused.reason is Reason.OUT_OF_ORDER_SEQUENCE
        assert writing.sink.outcomes[good] == 0
        assert writing.partition.log.assigned == 2
        nursery.cancel_scope.cancel()


async def test_sealing_the_own_chain_is_its_end(autojump_clock: MockClock) -> None:
    writing = Writing()
    writing.scripted.holding = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        writing.append()
        assert await writing.flusher.seal() == 1
        assert writing.sink.outcomes == {0: 0}
        assert isinstance(parse_chain_object(await writing.scripted.memory.get(key(1))), Seal)
        assert_unknown(writing.sink.outcomes[writing.append()])
        with pytest.raises(Unavailable):
            await writing.flusher.fence()
        nursery.cancel_scope.cancel()


async def test_a_seal_waits_for_a_fence_that_came_meanwhile(autojump_clock: MockClock) -> None:
    """Behind a place that may stay free it would be no end of the chain."""
    writing = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        await writing.append_alone()
        nursery.start_soon(writing.flusher.seal)
        await wait_all_tasks_blocked()
        nursery.start_soon(writing.flusher.fence)
        puts = await writing.scripted.wait_puts(2)
        puts[0].land()
        await wait_all_tasks_blocked()
        assert [put.key for put in writing.scripted.puts] == [key(0), key(1)]
        puts[1].land()
        assert (await writing.scripted.wait_puts(3))[2].key == key(2)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "taken_by", [pytest.param(foreign(1), id="foreign"), pytest.param(b"no chain object", id="garbage")]
)
async def test_own_seal_whose_place_is_taken(taken_by: bytes, autojump_clock: MockClock) -> None:
    writing = Writing()
    writing.scripted.holding = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        writing.append()
        await writing.flusher.flush()
        await writing.scripted.memory.put(key(1), taken_by)
        assert await writing.flusher.seal() is None
        nursery.cancel_scope.cancel()


async def test_an_index_covers_each_64(autojump_clock: MockClock) -> None:
    writing = Writing()
    writing.scripted.holding = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        for _ in range(130):
            await writing.append_alone()
        await writing.flusher.flush()
        await wait_all_tasks_blocked()
        for first in (0, 64):
            index = parse_index(await writing.scripted.memory.get(chain_index_key(SESSION, first)))
            assert [entry.seq for entry in index[writing.partition.tp]] == list(range(first, first + 64))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("land", [0, 1, 2])
async def test_cancelled_at_any_point_everything_is_answered(land: int, autojump_clock: MockClock) -> None:
    """As kill -9 would leave it: what was not acknowledged has an unknown outcome, nothing twice."""
    writing = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        for _ in range(4):
            await writing.append_alone()
        writing.append()
        for put in (await writing.scripted.wait_puts(4))[:land]:
            put.land()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    for number in range(5):
        outcome = writing.sink.outcomes[number]
        if number < land:
            assert outcome == number
        else:
            assert_unknown(outcome)
