"""Answers a fetch: waits for enough bytes in any of its partitions, then reads them.

Owns: the wait set, min and max bytes, order of partitions. Does not own: which offsets are valid
(access.py), bytes.
Rules: 1 one wait set a request, woken by `durable`: nobody polls; 2 an error in one partition ends the
wait, the others are answered with what they have; 3 memory for replies is bounded; whoever finds it full
waits; 4 partitions whose offsets are above the frontier share one fence, begun after the request came; 5
what was planned from a list that is old by now is planned again from the newer one, where there is one.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from libs.concurrency.byte_budget import ByteBudget
from libs.model.errors import KafscaleError, Moved
from libs.model.ids import TopicPartition
from libs.telemetry.spans import span
from services.partition_owner.access import FENCE_SECONDS_MAX, fence, find_readable, out_of_range
from services.partition_owner.partition import Partition
from services.partition_owner.read_plan import cut, ranges_to_read
from services.partition_owner.reader import Loaded, Reader
from services.partition_owner.recorder import Recorder
from services.partition_owner.registry import Registry, moved
from services.partition_owner.wake import Wake

NO_OFFSET = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPart:
    tp: TopicPartition
    current_leader_epoch: int
    fetch_offset: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    parts: Sequence[FetchPart]
    min_bytes: int
    max_bytes: int
    max_wait_seconds: float


@dataclass(slots=True, kw_only=True)
class FetchedPart:
    """One answer; `records` are views of whole batches in a row."""

    error: KafscaleError | None = None
    high_watermark: int = NO_OFFSET
    log_start_offset: int = NO_OFFSET
    leader_epoch: int = -1
    records: list[memoryview] = field(default_factory=list)


class FetchWait:
    """One parked fetch, for who may cut its wait short."""

    __slots__ = ("cancelled", "wake")

    def __init__(self) -> None:
        self.wake = Wake()
        self.cancelled = False

    def cancel(self) -> None:
        """Answer at once with what there is."""
        self.cancelled = True
        self.wake.set()


_Found = Partition | KafscaleError


class Fetcher:
    """Serves fetches of any number of streams."""

    def __init__(
        self, *, registry: Registry, reader: Reader, reply_budget: ByteBudget, recorder: Recorder
    ) -> None:
        self._registry = registry
        self._reader = reader
        self._budget = reply_budget
        self._recorder = recorder

    async def fetch(
        self,
        request: Fetch,
        wait: FetchWait,
        *,
        report: Callable[[int], Awaitable[None]] | None,
        reply: Callable[[list[FetchedPart]], Awaitable[None]],
    ) -> None:
        """Waits, reads, and hands the answer to `reply`, one part for each of the request's, in its order.

        `report` hears the bytes that could be read now, whenever they grow while the request is parked.
        """
        began_at = trio.current_time()
        with span("owner.check"):
            found = await self._find_all(request)
        with span("owner.wait"):
            await self._wait_enough(request, found, wait, began_at + request.max_wait_seconds, report)
        available_bytes = _available(request, found)
        reserved_bytes = min(request.max_bytes, available_bytes)
        await self._budget.take(reserved_bytes)
        try:
            with span("owner.read"):
                answers = await self._read_all(request, found)
            await reply(answers)
        finally:
            self._budget.give_back(reserved_bytes)
        size_bytes = sum(piece.nbytes for answer in answers for piece in answer.records)
        self._recorder.fetch_answered(size_bytes, trio.current_time() - began_at)

    async def _find_all(self, request: Fetch) -> list[_Found]:
        found = [self._find(part) for part in request.parts]
        above = {
            index: partition
            for index, partition in enumerate(found)
            if isinstance(partition, Partition) and request.parts[index].fetch_offset > partition.log.durable
        }
        if not above:
            return found
        try:
            await fence(self._registry, seconds_max=max(request.max_wait_seconds, FENCE_SECONDS_MAX))
        except KafscaleError as error:
            return [error if index in above else each for index, each in enumerate(found)]
        for index, partition in above.items():
            found[index] = self._find_after_fence(request.parts[index], partition)
        return found

    def _find_after_fence(self, part: FetchPart, before: Partition) -> _Found:
        """A PUT proves that nobody sealed our chain, not that we did not release the partition."""
        found = self._find(part)
        if not isinstance(found, Partition) or part.fetch_offset <= found.log.durable:
            return found
        if found is before and found.appendable:
            return out_of_range(found, part.fetch_offset)
        return moved(part.tp)

    def _find(self, part: FetchPart) -> _Found:
        try:
            partition = find_readable(self._registry, part.tp, part.current_leader_epoch)
        except KafscaleError as error:
            return error
        if part.fetch_offset < partition.log.log_start:
            return out_of_range(partition, part.fetch_offset)
        return partition

    async def _wait_enough(
        self,
        request: Fetch,
        found: list[_Found],
        wait: FetchWait,
        deadline: float,
        report: Callable[[int], Awaitable[None]] | None,
    ) -> None:
        partitions = [each for each in found if isinstance(each, Partition)]
        if len(partitions) < len(found):
            return
        for partition in partitions:
            partition.readers.add(wait.wake)
        try:
            reported_bytes = 0
            while not wait.cancelled and trio.current_time() < deadline:
                if any(
                    not each.readable or part.fetch_offset < each.log.log_start
                    for part, each in zip(request.parts, partitions, strict=True)
                ):
                    return
                available_bytes = _available(request, found)
                if available_bytes >= request.min_bytes:
                    return
                if report is not None and available_bytes > reported_bytes:
                    reported_bytes = available_bytes
                    await report(available_bytes)
                    continue
                await wait.wake.wait_until(deadline)
        finally:
            for partition in partitions:
                partition.readers.discard(wait.wake)

    async def _read_all(self, request: Fetch, found: list[_Found]) -> list[FetchedPart]:
        """In the request's order, so that the first partition with data gets its batch (KIP-74)."""
        loaded, missing = self._load_nowait(request, found)
        if missing:
            async with trio.open_nursery() as nursery:
                for index, max_bytes in missing.items():
                    nursery.start_soon(self._load, index, request, found, max_bytes, loaded)
        left_bytes = request.max_bytes
        anything = False
        answers: list[FetchedPart] = []
        for index, part in enumerate(request.parts):
            answer = self._answer(part, found[index], loaded.get(index), left_bytes, first=not anything)
            if answer.records:
                anything = True
                left_bytes = max(0, left_bytes - sum(piece.nbytes for piece in answer.records))
            answers.append(answer)
        return answers

    def _load_nowait(
        self, request: Fetch, found: list[_Found]
    ) -> tuple[dict[int, Loaded | KafscaleError], dict[int, int]]:
        """What is in memory by the part's index; for the others, how many bytes are to be read."""
        loaded: dict[int, Loaded | KafscaleError] = {}
        missing: dict[int, int] = {}
        left_bytes = request.max_bytes
        for index, part in enumerate(request.parts):
            partition = found[index]
            if not isinstance(partition, Partition) or (left_bytes <= 0 and (loaded or missing)):
                continue
            log, offset = partition.log, part.fetch_offset
            max_bytes = min(part.max_bytes, left_bytes)
            if offset < log.compacted_end:
                if offset >= log.log_start:
                    missing[index] = max_bytes
                    left_bytes -= min(max_bytes, log.readable_bytes(offset))
                continue
            ranges = ranges_to_read(log, offset, max_bytes)
            if ranges:
                at_hand = self._reader.load_nowait(ranges)
                if at_hand is None:
                    missing[index] = max_bytes
                else:
                    loaded[index] = Loaded(ranges, at_hand)
                # The first range may be used in part only: what it surely gives is not known yet.
                left_bytes -= sum(each.size_bytes for each in ranges[1:])
        return loaded, missing

    async def _load(
        self,
        index: int,
        request: Fetch,
        found: list[_Found],
        max_bytes: int,
        loaded: dict[int, Loaded | KafscaleError],
    ) -> None:
        partition, offset = found[index], request.parts[index].fetch_offset
        assert isinstance(partition, Partition)
        log = partition.log
        while offset >= log.log_start:
            version = log.version
            try:
                loaded[index] = await self._reader.read(partition, offset, max_bytes)
            except Moved as error:
                if log.version != version:
                    continue  # it was compacted meanwhile, and what it was compacted from is gone
                loaded[index] = error
            except KafscaleError as error:
                loaded[index] = error
            return

    def _answer(
        self,
        part: FetchPart,
        partition: _Found,
        loaded: Loaded | KafscaleError | None,
        left_bytes: int,
        *,
        first: bool,
    ) -> FetchedPart:
        if isinstance(partition, KafscaleError):
            return FetchedPart(error=partition)
        if not partition.readable:
            return FetchedPart(error=moved(part.tp))
        log = partition.log
        if part.fetch_offset < log.log_start:
            return FetchedPart(error=out_of_range(partition, part.fetch_offset))
        answer = FetchedPart(
            high_watermark=log.durable, log_start_offset=log.log_start, leader_epoch=partition.leader_epoch
        )
        if isinstance(loaded, KafscaleError):
            answer.error = loaded
        elif loaded is not None:
            try:
                answer.records = cut(
                    *loaded,
                    offset=part.fetch_offset,
                    max_bytes=min(part.max_bytes, left_bytes),
                    at_least_one=first,
                )
            except KafscaleError as error:
                answer.error = error
        return answer


def _available(request: Fetch, found: list[_Found]) -> int:
    """Bytes that could be read now, each partition's within its own limit."""
    total_bytes = 0
    for part, partition in zip(request.parts, found, strict=True):
        if isinstance(partition, Partition):
            total_bytes += min(part.max_bytes, partition.log.readable_bytes(part.fetch_offset))
    return total_bytes
