"""Makes a partition's log and producers of its manifest and of what the chains say. Pure.

Owns: order and completeness of what was read. Does not own: reading.
Rules: 1 ranges follow each other without a gap or an overlap, else it is Corrupt: never guess (promise 2);
2 a range counts only under its position's epoch; 3 the final offset that a release wrote must be reached.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from libs.model.cluster import ChainPosition
from libs.model.errors import Corrupt
from libs.model.ids import TopicPartition
from libs.segments.index import IndexedRange
from libs.segments.manifest import Manifest
from services.partition_owner.log import PartitionLog
from services.partition_owner.producers import ProducerStates


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPosition:
    """A closed position and what its chain holds of the partition, in chain order."""

    position: ChainPosition
    ranges: Sequence[IndexedRange]

    def own_ranges(self) -> Iterable[IndexedRange]:
        epoch = self.position.leader_epoch
        return (entry for entry in self.ranges if entry.wal_range.leader_epoch == epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    log: PartitionLog
    producers: ProducerStates
    needed: tuple[ChainPosition, ...]
    """The positions that hold records above the manifest's end."""


def rebuild(
    tp: TopicPartition,
    read: Sequence[ReadPosition],
    *,
    manifest: Manifest | None,
    log_start: int,
    released_offset: int | None,
    producers: ProducerStates,
    now: float,
) -> Rebuilt:
    """The partition as of the end of its last position. `now`: of Trio's clock. Raises Corrupt."""
    log = _empty_log(tp, read, manifest, log_start)
    if manifest is not None:
        producers.restore_snapshot(manifest.producers, now=now)
        producers.expire(now)
    needed: list[ChainPosition] = []
    for each in read:
        before = len(log)
        for entry in each.own_ranges():
            found = entry.wal_range
            if manifest is not None and found.base_offset + found.record_count <= manifest.end_offset:
                continue
            _add(tp, log, each.position, entry)
            producers.restore(entry.wal_range.producer_runs, now=now)
        producers.expire(now)
        if len(log) > before:
            needed.append(each.position)
    if released_offset is not None and log.assigned != released_offset:
        raise Corrupt(f"{tp} was released at offset {released_offset}, its chains end at {log.assigned}")
    if log.assigned < log_start:
        raise Corrupt(f"the chains of {tp} end at offset {log.assigned}, its log starts at {log_start}")
    log.begin_flight(log.assigned)
    log.advance_durable(log.assigned)
    return Rebuilt(log=log, producers=producers, needed=tuple(needed))


def _empty_log(
    tp: TopicPartition, read: Sequence[ReadPosition], manifest: Manifest | None, log_start: int
) -> PartitionLog:
    """With the manifest's segments; ranges begin at its end, else with the first that there is."""
    if manifest is not None:
        log = PartitionLog(log_start=log_start, next_offset=manifest.end_offset)
        log.compacted(manifest)
        return log
    first = next((entry for each in read for entry in each.own_ranges()), None)
    begin = log_start if first is None else first.wal_range.base_offset
    if begin > log_start:
        raise Corrupt(f"the first record of {tp} is at offset {begin}, its log starts at {log_start}")
    return PartitionLog(log_start=log_start, next_offset=begin)


def _add(tp: TopicPartition, log: PartitionLog, position: ChainPosition, entry: IndexedRange) -> None:
    found = entry.wal_range
    if found.base_offset != log.assigned:
        raise Corrupt(
            f"chain object {position.session}/{entry.seq} continues {tp} at offset {found.base_offset},"
            f" not at {log.assigned}"
        )
    log.append(
        session=position.session,
        leader_epoch=position.leader_epoch,
        seq=entry.seq,
        base_offset=found.base_offset,
        record_count=found.record_count,
        position=found.position,
        size_bytes=found.size_bytes,
        max_timestamp_ms=found.max_timestamp_ms,
    )
