"""What the assembler leaves behind beside the object."""

import pytest
import trio

from libs.segments import index
from services.partition_owner.producers import ProducerStates
from tests.support.owners import batch
from tests.unit.services.partition_owner.writing import Writing


async def test_producers_beyond_the_bound_are_forgotten() -> None:
    """Every client that starts is a new producer: without an end they fill the memory."""
    writing = Writing()
    writing.scripted.holding = False
    writing.partition.producers = ProducerStates(expiration_seconds=1 << 40, count_max=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        for producer_id in range(5):
            writing.append(batch("v", producer=(producer_id, 0, 0)))
            await writing.flusher.flush()
        assert len(writing.partition.producers) == 2
        nursery.cancel_scope.cancel()


async def test_a_producer_is_not_forgotten_because_the_time_of_day_jumped(autojump_clock: object) -> None:
    """Its batch is durable, its answer may be lost, and it will send it again (promises 3 and 5)."""
    writing = Writing()
    writing.scripted.holding = False
    writing.partition.producers = ProducerStates(expiration_seconds=86_400, count_max=10)
    sent = batch("v", producer=(7, 0, 0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        first = writing.append(sent)
        await writing.flusher.flush()
        writing.clock.advance_ms(30 * 86_400_000)
        writing.append(batch("w", producer=(8, 0, 0)))
        await writing.flusher.flush()
        again = writing.append(sent)
        await writing.flusher.flush()
        assert writing.sink.outcomes[again] == writing.sink.outcomes[first] == 0
        await trio.sleep(86_400)
        writing.append(batch("x", producer=(8, 0, 1)))
        await writing.flusher.flush()
        assert writing.partition.producers.ids() == {8}
        nursery.cancel_scope.cancel()


async def test_an_index_that_would_be_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an aid: 64 objects full of tiny batches must not end the owner."""
    monkeypatch.setattr(index, "INDEX_BYTES_MAX", 1000)
    writing = Writing()
    writing.scripted.holding = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        for number in range(70):
            writing.append(batch("v", producer=(number, 0, 0)))
            await writing.flusher.flush()
        assert writing.partition.log.durable == 70
        nursery.cancel_scope.cancel()
