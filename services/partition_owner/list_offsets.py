"""Finds offsets: the ends of the log, and by timestamp.

Owns: ListOffsets of one partition. Does not own: looking into a batch (libs/records).
Rules: 1 -1 is the high watermark, -2 and -4 the log start, -3 the record with the greatest timestamp
(KIP-734); 2 a timestamp is found by the maxima of segments and ranges, then by the segment's index, then in
batches, then in one batch, in a thread; 3 records below the log start are not there: the search goes on
behind what only they made look promising; 4 a list that is old by now is left for the newer one.
"""

from typing import NamedTuple

from libs.concurrency.threads import Threads
from libs.model.errors import Corrupt, Invalid, Moved
from libs.model.ids import NO_TIMESTAMP_MS, LeaderEpoch, TopicPartition
from libs.records import (
    BatchView,
    TimestampedOffset,
    find_offset_for_timestamp,
    greatest_timestamp,
    iter_batches,
)
from libs.segments.manifest import SegmentRef
from services.partition_owner.access import find_readable
from services.partition_owner.log import LogRange
from services.partition_owner.partition import Partition
from services.partition_owner.reader import Reader
from services.partition_owner.registry import Registry, moved

LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL = -1, -2, -3, -4
NO_OFFSET = -1
RECORDS_POOL = "records"
_STEP_BYTES = 1024 * 1024


class FoundOffset(NamedTuple):
    """`offset` is -1 where there is no such record."""

    offset: int
    timestamp_ms: int
    leader_epoch: LeaderEpoch


class OffsetFinder:
    """`threads` has the pool RECORDS_POOL."""

    def __init__(self, *, registry: Registry, reader: Reader, threads: Threads) -> None:
        self._registry = registry
        self._reader = reader
        self._threads = threads

    async def find(self, tp: TopicPartition, current_leader_epoch: int, timestamp: int) -> FoundOffset:
        """Raises Moved, Fenced, Invalid, Unavailable, Corrupt."""
        partition = find_readable(self._registry, tp, current_leader_epoch)
        log, epoch = partition.log, partition.leader_epoch
        if timestamp == LATEST:
            return FoundOffset(log.durable, NO_TIMESTAMP_MS, epoch)
        if timestamp in (EARLIEST, EARLIEST_LOCAL):
            first = log.epoch_at(log.log_start)
            return FoundOffset(log.log_start, NO_TIMESTAMP_MS, epoch if first is None else first)
        if timestamp < 0 and timestamp != MAX_TIMESTAMP:
            raise Invalid(f"ListOffsets has no meaning for the timestamp {timestamp}")
        while True:
            version = log.version
            try:
                if timestamp == MAX_TIMESTAMP:
                    found = await self._find_max(partition)
                else:
                    found = await self._find_at(partition, timestamp)
                break
            except Moved:
                if log.version == version:
                    raise
        if not partition.readable:
            raise moved(tp)
        if found is None:
            return FoundOffset(NO_OFFSET, NO_TIMESTAMP_MS, epoch)
        found_epoch = log.epoch_at(found.offset)
        return FoundOffset(found.offset, found.timestamp_ms, epoch if found_epoch is None else found_epoch)

    async def _find_at(self, partition: Partition, timestamp_ms: int) -> TimestampedOffset | None:
        """The first record at or after the time."""
        log = partition.log
        offset = log.log_start
        while (place := log.at_time(timestamp_ms, offset)) is not None:
            found = await self._look(partition, place, timestamp_ms)
            if found is not None:
                return found
            offset = _end_of(place)
        return None

    async def _find_max(self, partition: Partition) -> TimestampedOffset | None:
        """The first record with the greatest timestamp."""
        log = partition.log
        begin = log.log_start
        latest_ms = log.max_time_ms(begin)
        found = await self._find_at(partition, latest_ms)
        place = log.at_time(latest_ms, begin)
        if found is not None or place is None:
            return found
        # It is below the log start, in the one place that lies on both sides of it.
        rest_ms = await self._max_from(partition, place, begin)
        return await self._find_at(partition, max(rest_ms, log.max_time_ms(_end_of(place))))

    async def _look(
        self, partition: Partition, place: SegmentRef | LogRange, timestamp_ms: int
    ) -> TimestampedOffset | None:
        offset = least_offset = partition.log.log_start
        if isinstance(place, SegmentRef):
            offset = max(offset, await self._reader.offset_before(partition, place, timestamp_ms))
        while True:
            chunk = await self._read(partition, place, offset)
            found, offset = await self._threads.run(
                RECORDS_POOL, _first_at, chunk, timestamp_ms, least_offset, abandon_on_cancel=True
            )
            if found is not None or offset >= _end_of(place):
                return found

    async def _max_from(self, partition: Partition, place: SegmentRef | LogRange, offset: int) -> int:
        """The greatest timestamp of a place from `offset` on."""
        latest_ms, least_offset = NO_TIMESTAMP_MS, offset
        while offset < _end_of(place):
            chunk = await self._read(partition, place, offset)
            chunk_ms, offset = await self._threads.run(
                RECORDS_POOL, _latest_of, chunk, least_offset, abandon_on_cancel=True
            )
            latest_ms = max(latest_ms, chunk_ms)
        return latest_ms

    async def _read(self, partition: Partition, place: SegmentRef | LogRange, offset: int) -> memoryview:
        """A range, or part of a segment from the batch that holds `offset` on."""
        if isinstance(place, SegmentRef):
            loaded = await self._reader.read_segments(partition, [place], offset, _STEP_BYTES)
            return loaded.chunks[0]
        (chunk,) = await self._reader.load(partition.log, [place])
        return chunk


def _end_of(place: SegmentRef | LogRange) -> int:
    return place.last_offset + 1 if isinstance(place, SegmentRef) else place.end_offset


def _first_at(
    chunk: memoryview, timestamp_ms: int, least_offset: int
) -> tuple[TimestampedOffset | None, int]:
    """The first record at or after the time, from the least offset on; and where the chunk ends."""
    batches = _stored_batches(chunk)
    for batch in batches:
        found = _in_batch(batch, timestamp_ms, least_offset)
        if found is not None:
            return found, batches[-1].next_offset
    return None, batches[-1].next_offset


def _latest_of(chunk: memoryview, least_offset: int) -> tuple[int, int]:
    """The greatest timestamp of the records from the least offset on; and where the chunk ends."""
    batches = _stored_batches(chunk)
    return max(_latest_in(batch, least_offset) for batch in batches), batches[-1].next_offset


def _latest_in(batch: BatchView, least_offset: int) -> int:
    try:
        return greatest_timestamp(batch, least_offset=least_offset)
    except Invalid:
        return batch.max_timestamp_ms  # as in `_in_batch`


def _in_batch(batch: BatchView, timestamp_ms: int, least_offset: int) -> TimestampedOffset | None:
    if batch.max_timestamp_ms < timestamp_ms or batch.last_offset < least_offset:
        return None
    try:
        return find_offset_for_timestamp(batch, timestamp_ms, least_offset=least_offset)
    except Invalid:
        # The client wrote a payload that is no list of records: its header is all that there is to go by.
        return TimestampedOffset(max(batch.base_offset, least_offset), batch.max_timestamp_ms)


def _stored_batches(chunk: memoryview) -> list[BatchView]:
    try:
        batches = list(iter_batches(chunk))
    except Invalid as error:
        raise Corrupt(f"stored batches are damaged: {error.message}") from error
    if not batches:
        raise Corrupt("there is no batch where the log has some")
    return batches
