"""Fetches of partitions that are about to be someone else's."""

from functools import partial

import trio
from trio.testing import wait_all_tasks_blocked

from libs.concurrency.byte_budget import ByteBudget
from libs.model.errors import KafscaleError, Moved, Reason
from services.partition_owner.cold_reads import ColdReadLimits, ColdReads
from services.partition_owner.fetching import Fetch, FetchedPart, Fetcher, FetchPart, FetchWait
from services.partition_owner.partition import PartitionPhase
from services.partition_owner.reader import Reader
from services.partition_owner.registry import Registry
from services.partition_owner.segment_reads import SegmentReadLimits, SegmentReads
from services.partition_owner.tail_cache import TailCache
from tests.unit.services.partition_owner.writing import Writing, partition

LIMITS = ColdReadLimits(block_bytes=1 << 16, cache_bytes_max=1 << 20, tail_gets_max=1, cold_gets_max=1)
SEGMENT_LIMITS = SegmentReadLimits(
    index_cache_bytes_max=1 << 20, tail_gets_max=1, cold_gets_max=1, read_ahead_bytes=0
)


def fetcher_of(writing: Writing, nursery: trio.Nursery) -> tuple[Fetcher, Registry]:
    registry = Registry()
    registry.flusher = writing.flusher
    registry.add(writing.partition)
    cold = ColdReads(store=writing.scripted, limits=LIMITS, nursery=nursery)
    segments = SegmentReads(store=writing.scripted, cold=cold, limits=SEGMENT_LIMITS, nursery=nursery)
    reader = Reader(
        store=writing.scripted,
        tail=TailCache(1 << 20),
        cold=cold,
        segments=segments,
        near_tail_bytes=1 << 20,
        read_ahead_bytes=0,
    )
    fetcher = Fetcher(
        registry=registry, reader=reader, reply_budget=ByteBudget(1 << 20), recorder=writing.recorder
    )
    return fetcher, registry


async def fetch_at(fetcher: Fetcher, writing: Writing, offset: int) -> KafscaleError | None:
    answers: list[FetchedPart] = []

    async def reply(parts: list[FetchedPart]) -> None:
        answers.extend(parts)

    wanted = FetchPart(
        tp=writing.partition.tp, current_leader_epoch=-1, fetch_offset=offset, max_bytes=1 << 20
    )
    request = Fetch(parts=[wanted], min_bytes=1, max_bytes=1 << 20, max_wait_seconds=1.0)
    await fetcher.fetch(request, FetchWait(), report=None, reply=reply)
    return answers[0].error


async def test_an_owner_that_hands_over_calls_no_offset_out_of_range() -> None:
    """Its release may have been done: the offset may be the next owner's, and a chain PUT proves nothing."""
    writing = Writing()
    writing.scripted.holding = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        fetcher, _ = fetcher_of(writing, nursery)
        writing.partition.phase = PartitionPhase.RELEASING
        assert isinstance(await fetch_at(fetcher, writing, 5), Moved)
        nursery.cancel_scope.cancel()


async def test_a_partition_that_left_during_the_fence_calls_no_offset_out_of_range() -> None:
    writing = Writing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        fetcher, registry = fetcher_of(writing, nursery)
        errors: list[KafscaleError | None] = []

        async def fetch() -> None:
            errors.append(await fetch_at(fetcher, writing, 5))

        nursery.start_soon(fetch)
        (probe,) = await writing.scripted.wait_puts(1)
        registry.drop(writing.partition)
        probe.land()
        await wait_all_tasks_blocked()
        assert isinstance(errors[0], Moved)
        nursery.cancel_scope.cancel()


async def test_partitions_of_one_request_share_a_fence() -> None:
    """One PUT proves it for all: one after the other, a request of many would outlast its client."""
    writing = Writing()
    others = [partition(index) for index in range(1, 4)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.flusher.run)
        fetcher, registry = fetcher_of(writing, nursery)
        for other in others:
            registry.add(other)
        answers: list[FetchedPart] = []

        async def reply(parts: list[FetchedPart]) -> None:
            answers.extend(parts)

        parts = [
            FetchPart(tp=each.tp, current_leader_epoch=-1, fetch_offset=5, max_bytes=1 << 20)
            for each in [writing.partition, *others]
        ]
        request = Fetch(parts=parts, min_bytes=1, max_bytes=1 << 20, max_wait_seconds=1.0)
        nursery.start_soon(partial(fetcher.fetch, request, FetchWait(), report=None, reply=reply))
        (probe,) = await writing.scripted.wait_puts(1)
        registry.drop(others[0])
        probe.land()
        await wait_all_tasks_blocked()
        assert len(writing.scripted.puts) == 1
        reasons = [each.error and each.error.reason for each in answers]
        out = Reason.OFFSET_OUT_OF_RANGE
        assert reasons == [out, Reason.NOT_OWNER, out, out]
        nursery.cancel_scope.cancel()
