"""A partition rebuilt from ranges: gaps, overlaps and missing ends are never guessed over."""

from uuid import UUID

import pytest

from libs.model.cluster import ChainPosition
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, LeaderEpoch, Partition, SessionId, TopicId, TopicPartition
from libs.segments.index import IndexedRange
from libs.segments.manifest import EpochStart, Manifest, ProducerSnapshot
from libs.segments.wal import ProducerRun, WalRange
from services.partition_owner.producers import ProducerStates
from services.partition_owner.rebuild import ReadPosition, Rebuilt, rebuild

TP = TopicPartition(TopicId(UUID(int=1)), Partition(0))


def position(session: int, epoch: int, start: int = 0, end: int = 9) -> ChainPosition:
    return ChainPosition(
        session=SessionId(UUID(int=session)),
        leader_epoch=LeaderEpoch(epoch),
        from_seq=ChainSeq(start),
        to_seq=ChainSeq(end),
    )


def stored(seq: int, base: int, count: int, epoch: int, *runs: ProducerRun) -> IndexedRange:
    return IndexedRange(
        ChainSeq(seq),
        WalRange(
            tp=TP,
            leader_epoch=epoch,
            base_offset=base,
            record_count=count,
            position=8,
            size_bytes=100,
            max_timestamp_ms=base,
            producer_runs=runs,
        ),
    )


def rebuilt(
    *read: ReadPosition, manifest: Manifest | None = None, log_start: int = 0, released: int | None = None
) -> Rebuilt:
    return rebuild(
        TP,
        read,
        manifest=manifest,
        log_start=log_start,
        released_offset=released,
        producers=ProducerStates(expiration_seconds=1, count_max=10),
        now=0,
    )


def test_positions_follow_each_other() -> None:
    first, second = position(1, 0), position(2, 3)
    run = ProducerRun(7, 0, 0, 1, 3, 0)
    made = rebuilt(
        ReadPosition(position=first, ranges=[stored(0, 0, 3, 0)]),
        ReadPosition(position=position(3, 1), ranges=[]),
        ReadPosition(position=second, ranges=[stored(4, 3, 2, 3, run)]),
    )
    assert (made.log.assigned, made.log.durable) == (5, 5)
    assert made.needed == (first, second)
    assert [made.log.epoch_at(offset) for offset in range(5)] == [0, 0, 0, 3, 3]
    entry = made.producers.get(7)
    assert entry is not None
    assert entry.runs == (run,)


def test_only_the_positions_epoch_counts() -> None:
    """One session had the partition twice; each position takes its own epoch's ranges of the same objects."""
    ranges = [stored(0, 0, 3, 0), stored(5, 3, 1, 2)]
    made = rebuilt(
        ReadPosition(position=position(1, 0), ranges=ranges),
        ReadPosition(position=position(1, 2), ranges=ranges),
    )
    assert made.log.assigned == 4


def test_what_lies_below_the_log_start_is_fine() -> None:
    made = rebuilt(ReadPosition(position=position(1, 0), ranges=[stored(0, 2, 3, 0)]), log_start=4)
    assert (made.log.log_start, made.log.assigned) == (4, 5)


def test_nothing_at_all() -> None:
    made = rebuilt(log_start=6)
    assert (made.log.log_start, made.log.durable, made.needed) == (6, 6, ())


@pytest.mark.parametrize(
    ("ranges", "log_start", "released"),
    [
        ([stored(0, 0, 3, 0), stored(1, 4, 1, 0)], 0, None),
        ([stored(0, 0, 3, 0), stored(1, 2, 1, 0)], 0, None),
        ([stored(0, 1, 3, 0)], 0, None),
        ([stored(0, 0, 3, 0)], 5, None),
        ([stored(0, 0, 3, 0)], 0, 4),
        ([], 0, 4),
    ],
    ids=["a gap", "an overlap", "a late beginning", "an end below the start", "an early end", "nothing"],
)
def test_never_guessed(ranges: list[IndexedRange], log_start: int, released: int | None) -> None:
    with pytest.raises(Corrupt):
        rebuilt(ReadPosition(position=position(1, 0), ranges=ranges), log_start=log_start, released=released)


def manifest(end: int, *producers: ProducerSnapshot, epoch: int = 0) -> Manifest:
    """Of a partition whose segments retention took."""
    return Manifest(
        tp=TP,
        leader_epoch=epoch,
        n=0,
        created_ms=0,
        log_start=end,
        end_offset=end,
        epochs=(EpochStart(leader_epoch=0, start_offset=0),),
        producers=producers,
    )


def test_what_the_manifest_has_is_passed_over() -> None:
    """Its producers are those below its end; runs of ranges below it would be counted twice."""
    old, new = ProducerRun(7, 0, 0, 1, 3, 0), ProducerRun(7, 0, 2, 3, 5, 0)
    silent = ProducerSnapshot(producer_id=8, producer_epoch=4, last_timestamp_ms=-1, runs=())
    known = ProducerSnapshot(producer_id=7, producer_epoch=0, last_timestamp_ms=0, runs=(old,))
    made = rebuilt(
        ReadPosition(position=position(1, 0), ranges=[stored(0, 0, 3, 0), stored(4, 3, 2, 0, old)]),
        ReadPosition(position=position(2, 2), ranges=[stored(0, 5, 2, 2, new), stored(9, 7, 1, 2)]),
        manifest=manifest(5, known, silent),
        log_start=5,
        released=8,
    )
    assert (made.log.compacted_end, made.log.assigned, made.log.durable_ranges) == (5, 8, 2)
    assert made.needed == (position(2, 2),)
    assert made.log.epochs() == (
        EpochStart(leader_epoch=0, start_offset=0),
        EpochStart(leader_epoch=2, start_offset=5),
    )
    entry, other = made.producers.get(7), made.producers.get(8)
    assert entry is not None
    assert other is not None
    assert (entry.runs, other.runs, other.producer_epoch) == ((old, new), (), 4)


def test_a_manifest_alone() -> None:
    made = rebuilt(ReadPosition(position=position(1, 0), ranges=[]), manifest=manifest(5), log_start=5)
    assert (made.log.assigned, made.log.durable, made.needed) == (5, 5, ())


@pytest.mark.parametrize(
    "ranges", [[stored(0, 3, 3, 0)], [stored(0, 6, 1, 0)]], ids=["across its end", "a gap behind it"]
)
def test_a_chain_that_does_not_continue_the_manifest_is_corrupt(ranges: list[IndexedRange]) -> None:
    with pytest.raises(Corrupt):
        rebuilt(ReadPosition(position=position(1, 0), ranges=ranges), manifest=manifest(5), log_start=5)
