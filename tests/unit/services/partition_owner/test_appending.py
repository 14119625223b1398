"""Streams of appends: refusals and their memory, back-pressure, LogAppendTime, what can't be stored."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from libs.clients.owner import Appended
from libs.concurrency.byte_budget import ByteBudget
from libs.concurrency.clock import LoopClock, ManualClock
from libs.model.errors import Invalid, KafscaleError, Moved, Reason
from libs.model.ids import LeaderEpoch
from libs.objectstore.memory import MemoryObjectStore
from libs.records import split_batches
from services.partition_owner.appending import BATCHES_MAX, AppendPart, AppendStream
from services.partition_owner.partition import PartitionPhase
from services.partition_owner.registry import Registry
from tests.support.owners import EPOCH_MS, batch, fetch, open_owner_cluster, part, tp_of
from tests.unit.services.partition_owner.writing import Writing


class Stream:
    """An AppendStream over a flusher whose store obeys the test."""

    def __init__(self, *, bytes_max: int = 1 << 20) -> None:
        self.writing = Writing()
        self.registry = Registry()
        self.registry.flusher = self.writing.flusher
        self.registry.add(self.writing.partition)
        self.budget = ByteBudget(bytes_max)
        self.appends = AppendStream(
            registry=self.registry,
            budget=self.budget,
            clock=ManualClock(5_000),
            recorder=self.writing.recorder,
        )
        self.tp = self.writing.partition.tp

    def part(self, data: bytes, *, epoch: int = 3, resume: bool = False) -> AppendPart:
        return AppendPart(self.tp, epoch, data, resume)

    async def errors(self) -> dict[int, KafscaleError | None]:
        return {answer.correlation_id: answer.error for answer in await self.appends.wait_answers()}


async def test_a_refusal_is_remembered_until_resume(autojump_clock: MockClock) -> None:
    stream = Stream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.writing.flusher.run)
        await stream.appends.take(1, [stream.part(batch("a"), epoch=2)])
        await stream.appends.take(2, [stream.part(batch("b"), epoch=3)])  # right, but it would overtake a
        errors = await stream.errors()
        assert isinstance(errors[1], Moved)
        assert isinstance(errors[2], Moved)
        assert stream.budget.used_bytes == 0
        await stream.appends.take(3, [stream.part(batch("a"), epoch=3, resume=True)])
        await stream.appends.take(4, [stream.part(batch("b"), epoch=3)])
        (await stream.writing.scripted.wait_puts(1))[0].land()
        await wait_all_tasks_blocked()
        assert await stream.errors() == {3: None, 4: None}
        nursery.cancel_scope.cancel()


async def test_refused_while_waiting_is_remembered_too(autojump_clock: MockClock) -> None:
    stream = Stream()
    partition = stream.writing.partition
    await stream.appends.take(1, [stream.part(batch("a"))])  # no flusher runs: it waits
    partition.phase = PartitionPhase.RELEASING
    stream.registry.drop(partition)
    assert isinstance((await stream.errors())[1], Moved)
    partition.phase = PartitionPhase.OPEN  # as its next epoch would be
    stream.registry.add(partition)
    await stream.appends.take(2, [stream.part(batch("b"))])
    assert isinstance((await stream.errors())[2], Moved)


async def test_a_full_buffer_stops_the_reading(autojump_clock: MockClock) -> None:
    data = batch("x" * 1000)
    stream = Stream(bytes_max=3 * len(data))
    taken: list[int] = []

    async def read() -> None:
        for number in range(6):
            await stream.appends.take(number, [stream.part(data)])
            taken.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.writing.flusher.run)
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        assert taken == [0, 1, 2]
        assert (stream.budget.used_bytes, stream.budget.waiting) == (3 * len(data), 1)
        for count in range(1, 7):
            if stream.writing.recorder.appends == 6:
                break
            for put in (await stream.writing.scripted.wait_puts(count))[count - 1 :]:
                put.land()
            await wait_all_tasks_blocked()
        assert taken == [0, 1, 2, 3, 4, 5]
        assert stream.budget.used_bytes == 0
        nursery.cancel_scope.cancel()


async def test_lost_while_it_waited_for_room(autojump_clock: MockClock) -> None:
    data = batch("x" * 1000)
    stream = Stream(bytes_max=len(data))
    async with trio.open_nursery() as nursery:
        await stream.appends.take(1, [stream.part(data)])
        nursery.start_soon(stream.appends.take, 2, [stream.part(data)])
        await wait_all_tasks_blocked()
        stream.registry.drop(stream.writing.partition)
    errors = await stream.errors()
    assert isinstance(errors[1], Moved)
    assert isinstance(errors[2], Moved)
    assert stream.budget.used_bytes == 0


async def test_what_can_not_be_stored_is_invalid() -> None:
    stream = Stream()
    damaged = bytearray(batch("x"))
    damaged[16] = 1
    for number, (data, reason) in enumerate(
        (
            (b"", Reason.INVALID_RECORD),
            (b"short", Reason.CORRUPT_MESSAGE),
            (bytes(damaged), Reason.UNSUPPORTED_MAGIC),
            (batch("x") * (BATCHES_MAX + 1), Reason.INVALID_REQUEST),
        )
    ):
        await stream.appends.take(number, [stream.part(data)])
        error = (await stream.errors())[number]
        assert isinstance(error, Invalid)
        assert error.reason is reason


async def test_log_append_time_is_the_owners(autojump_clock: MockClock) -> None:
    configs = {"message.timestamp.type": "LogAppendTime"}
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), ["a"]) as cluster:
        topic = await cluster.create_topic("orders", configs=configs)
        tp = tp_of(topic)
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        outcome = await appends.outcome(appends.send(tp, epoch, batch("x", timestamp_ms=1)))
        assert isinstance(outcome, Appended)
        assert abs(outcome.log_append_time_ms - cluster.clock.now_ms()) < 1000
        (found,) = await fetch(owner, part(tp, 0))
        (stored,) = split_batches(found.records)
        assert stored.max_timestamp_ms == outcome.log_append_time_ms
        assert stored.attributes & 0x08


async def test_a_duplicate_is_answered_with_the_append_time_of_its_original(
    autojump_clock: MockClock,
) -> None:
    configs = {"message.timestamp.type": "LogAppendTime"}
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), ["a"]) as cluster:
        tp = tp_of(await cluster.create_topic("orders", configs=configs))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        data = batch("x", producer=(7, 0, 0))
        first = await appends.outcome(appends.send(tp, epoch, data))
        await trio.sleep(3.0)
        again = await appends.outcome(appends.send(tp, epoch, data))
        assert isinstance(first, Appended)
        assert first.log_append_time_ms > EPOCH_MS
        assert again == first


@pytest.mark.parametrize("streams", [1, 3])
async def test_partial_replies_of_one_request(streams: int, autojump_clock: MockClock) -> None:
    """Outcomes are told as they are known: the refused part does not wait for the other's PUT."""
    stream = Stream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.writing.flusher.run)
        wrong = AppendPart(
            stream.tp._replace(partition=stream.tp.partition), LeaderEpoch(9), batch("w"), resume=False
        )
        await stream.appends.take(1, [wrong])
        await stream.appends.take(2, [stream.part(batch("x"), resume=True)] * streams)
        first = await stream.appends.wait_answers()
        assert [(answer.correlation_id, answer.part) for answer in first] == [(1, 0)]
        assert not stream.appends.finished
        (await stream.writing.scripted.wait_puts(1))[0].land()
        answers = await stream.appends.wait_answers()
        assert [(answer.part, answer.base_offset) for answer in answers] == [(n, n) for n in range(streams)]
        assert stream.appends.finished
        nursery.cancel_scope.cancel()
