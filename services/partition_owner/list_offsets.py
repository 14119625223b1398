"""Finds offsets: the ends of the log, and by timestamp.

Owns: ListOffsets of one partition. Does not own: looking into a batch (libs/records).
Rules: 1 -1 is the high watermark, -2 and -4 the log start, -3 the record with the greatest timestamp
(KIP-734); 2 a timestamp is found by the ranges' maxima, then in one range's batches, then in one batch, in
a thread.
"""

from typing import NamedTuple

from libs.concurrency.threads import Threads
from libs.model.errors import Corrupt, Invalid
from libs.model.ids import NO_TIMESTAMP_MS, LeaderEpoch, TopicPartition
from libs.records import BatchView, TimestampedOffset, find_offset_for_timestamp, iter_batches
from services.partition_owner.access import find_readable
from services.partition_owner.partition import Partition
from services.partition_owner.reader import Reader
from services.partition_owner.registry import Registry

LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL = -1, -2, -3, -4
NO_OFFSET = -1
RECORDS_POOL = "records"


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
        if timestamp == MAX_TIMESTAMP:
            timestamp = log.max_time_ms()
            return await self._look(partition, log.index_at_time(timestamp), timestamp)
        if timestamp < 0:
            raise Invalid(f"ListOffsets has no meaning for the timestamp {timestamp}")
        return await self._look(partition, log.index_at_time(timestamp), timestamp)

    async def _look(self, partition: Partition, index: int | None, timestamp_ms: int) -> FoundOffset:
        if index is None:
            return FoundOffset(NO_OFFSET, NO_TIMESTAMP_MS, partition.leader_epoch)
        log = partition.log
        found = log.range_at(index)
        (chunk,) = await self._reader.load(log, [found])
        found_at = await self._threads.run(
            RECORDS_POOL, _first_at, chunk, timestamp_ms, log.log_start, abandon_on_cancel=True
        )
        if found_at is None:
            return FoundOffset(NO_OFFSET, NO_TIMESTAMP_MS, partition.leader_epoch)
        return FoundOffset(found_at.offset, found_at.timestamp_ms, found.leader_epoch)


def _first_at(chunk: memoryview, timestamp_ms: int, log_start: int) -> TimestampedOffset | None:
    """The first record at or after the time among the batches of a range."""
    for batch in _stored_batches(chunk):
        if batch.max_timestamp_ms < timestamp_ms or batch.last_offset < log_start:
            continue
        try:
            found = find_offset_for_timestamp(batch, timestamp_ms)
        except Invalid:
            # The client wrote a payload that is no list of records: its header is all that there is to go by.
            found = TimestampedOffset(batch.base_offset, batch.max_timestamp_ms)
        if found is not None:
            return found
    return None


def _stored_batches(chunk: memoryview) -> list[BatchView]:
    try:
        return list(iter_batches(chunk))
    except Invalid as error:
        raise Corrupt(f"a stored range is damaged: {error.message}") from error
