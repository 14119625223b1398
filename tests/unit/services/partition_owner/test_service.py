"""Owners over real metadata: append, fetch, take over, hand over."""

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.model.errors import Moved
from libs.objectstore.memory import MemoryObjectStore
from libs.records import iter_batches
from tests.support.owners import EPOCH_MS, batch, fetch, list_offset, open_owner_cluster, part, tp_of
from tests.support.records import decode_batch


def values_of(records: bytes) -> list[tuple[int, str]]:
    return [
        (offset, (record.value or b"").decode())
        for each in iter_batches(records)
        for offset, record in decode_batch(each.data)
    ]


async def test_append_then_fetch(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), ["a"]) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("x", "y")) == 0
        assert await appends.append(tp, epoch, batch("z")) == 2
        (found,) = await fetch(owner, part(tp, 1))
        assert found.high_watermark == 3
        assert values_of(found.records) == [(0, "x"), (1, "y"), (2, "z")]
        assert (await list_offset(owner, tp, -1)).offset == 3


async def test_takeover_by_sealing(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS))) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        first, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(first)
        for number in range(100):
            assert await appends.append(tp, epoch, batch(f"v{number}", producer=(7, 0, number))) == number
        await first.kill()
        second, next_epoch = await cluster.wait_open(tp, not_on=first.name)
        assert next_epoch > epoch
        appends = await cluster.appends(second)
        assert await appends.append(tp, next_epoch, batch("v99", producer=(7, 0, 99))) == 99
        assert await appends.append(tp, next_epoch, batch("v100", producer=(7, 0, 100))) == 100
        (found,) = await fetch(second, part(tp, 0))
        assert values_of(found.records) == [(number, f"v{number}") for number in range(101)]


async def test_hand_over(autojump_clock: MockClock) -> None:
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS))) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        first, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(first)
        assert await appends.append(tp, epoch, batch("x")) == 0
        result = await first.service.control().drain(
            [], all_assigned=True, reason="test", deadline_seconds=10
        )
        assert result.drained == (tp,)
        second, next_epoch = await cluster.wait_open(tp, not_on=first.name)
        with pytest.raises(Moved):
            await appends.append(tp, epoch, batch("y"))
        appends = await cluster.appends(second)
        assert await appends.append(tp, next_epoch, batch("y")) == 1
        (found,) = await fetch(second, part(tp, 0))
        assert values_of(found.records) == [(0, "x"), (1, "y")]
        assert trio.current_time() < 5
