"""One partition's log against a plain list of ranges."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.ids import LeaderEpoch, Offset, Partition, SessionId, TopicId, TopicPartition
from libs.segments.keys import SegmentName
from libs.segments.manifest import EpochStart, Manifest, SegmentRef
from services.partition_owner.log import LogRange, PartitionLog

SESSION = SessionId(UUID(int=1))


def add(
    log: PartitionLog,
    seq: int,
    count: int,
    size: int,
    time: int,
    *,
    epoch: int = 0,
    session: SessionId = SESSION,
) -> LogRange:
    base = log.assigned
    log.append(
        session=session,
        leader_epoch=LeaderEpoch(epoch),
        seq=seq,
        base_offset=base,
        record_count=count,
        position=seq * 10,
        size_bytes=size,
        max_timestamp_ms=time,
    )
    return log.range_at(len(log) - 1)


ranges = st.lists(
    st.tuples(
        st.integers(1, 5), st.integers(61, 500), st.integers(-1, 20), st.integers(0, 1), st.integers(0, 3)
    ),
    max_size=30,
)


@given(ranges, st.integers(0, 30), st.integers(0, 1000))
def test_look_ups_agree_with_a_list(
    given_ranges: list[tuple[int, int, int, int, int]], durable: int, first: int
) -> None:
    log = PartitionLog(log_start=first, next_offset=first)
    model: list[LogRange] = []
    times: list[int] = []
    epoch = 0
    for seq, (count, size, time, epoch_step, which) in enumerate(given_ranges):
        epoch += epoch_step
        model.append(add(log, seq, count, size, time, epoch=epoch, session=SessionId(UUID(int=which))))
        times.append(time)
    durable = min(durable, len(model))
    end = model[durable - 1].end_offset if durable else first
    log.begin_flight(log.assigned)
    log.advance_durable(end)
    assert log.high_watermark == end
    assert log.durable_ranges == durable
    assert [log.range_at(index) for index in range(len(log))] == model
    for offset in range(first, end):
        index = log.index_of(offset)
        assert model[index].base_offset <= offset < model[index].end_offset
        assert log.readable_bytes(offset) == sum(each.size_bytes for each in model[index:durable])
        assert log.epoch_at(offset) == model[index].leader_epoch
    assert log.index_of(end) == durable
    assert log.readable_bytes(end) == 0
    for time in range(-1, 22):
        expected = next((index for index in range(durable) if times[index] >= time), None)
        assert log.index_at_time(time) == expected
        for index in range(durable):
            behind = next((each for each in range(index, durable) if times[each] >= time), None)
            found = log.at_time(time, model[index].end_offset - 1)
            assert found == (None if behind is None else model[behind])
        assert log.at_time(time, end) is None
    for index in range(durable):
        assert log.max_time_ms(model[index].base_offset) == max(times[index:durable])
    assert log.max_time_ms(end) == -1


def test_frontiers_only_move_forward() -> None:
    log = PartitionLog(log_start=0, next_offset=0)
    add(log, 0, 3, 100, 5)
    add(log, 1, 3, 100, 5)
    log.begin_flight(6)
    log.begin_flight(3)
    log.advance_durable(6)
    log.advance_durable(3)
    assert (log.assigned, log.in_flight, log.durable) == (6, 6, 6)


def test_a_gap_is_refused() -> None:
    log = PartitionLog(log_start=0, next_offset=0)
    with pytest.raises(ValueError, match="ends at 0"):
        log.append(
            session=SESSION,
            leader_epoch=LeaderEpoch(0),
            seq=0,
            base_offset=1,
            record_count=1,
            position=0,
            size_bytes=61,
            max_timestamp_ms=0,
        )


def test_offsets_outside_are_refused() -> None:
    log = PartitionLog(log_start=5, next_offset=5)
    add(log, 0, 3, 100, 5)
    log.begin_flight(8)
    log.advance_durable(8)
    for offset in (4, 9):
        with pytest.raises(ValueError, match="not in the log"):
            log.index_of(offset)
    assert log.epoch_at(4) is None
    assert log.epoch_at(8) is None


def segment(base: int, last: int, *, size: int = 1000, time: int = 5) -> SegmentRef:
    return SegmentRef(
        name=SegmentName(Offset(base), LeaderEpoch(0), bytes(16)),
        last_offset=last,
        record_count=1,
        size_bytes=size,
        index_bytes=100,
        max_timestamp_ms=time,
    )


def manifest(end: int, *segments: SegmentRef, epochs: tuple[EpochStart, ...] = ()) -> Manifest:
    return Manifest(
        tp=TopicPartition(TopicId(UUID(int=1)), Partition(0)),
        leader_epoch=0,
        n=0,
        created_ms=0,
        log_start=0,
        end_offset=end,
        segments=segments,
        epochs=epochs,
    )


def durable_log(given_ranges: list[tuple[int, int, int, int, int]]) -> tuple[PartitionLog, list[LogRange]]:
    log = PartitionLog(log_start=0, next_offset=0)
    epoch = 0
    model = []
    for seq, (count, size, time, epoch_step, which) in enumerate(given_ranges):
        epoch += epoch_step
        model.append(add(log, seq, count, size, time, epoch=epoch, session=SessionId(UUID(int=which))))
    log.begin_flight(log.assigned)
    log.advance_durable(log.assigned)
    return log, model


@given(ranges, st.integers(0, 30), st.integers(0, 30), ranges)
def test_what_is_left_after_compaction_is_as_it_was(
    given_ranges: list[tuple[int, int, int, int, int]],
    first: int,
    second: int,
    later: list[tuple[int, int, int, int, int]],
) -> None:
    """Twice, and with ranges appended after it: each look-up agrees with the ranges that are left."""
    log, model = durable_log(given_ranges)
    times = [each[2] for each in given_ranges]
    for count in sorted((min(first, len(model)), min(second, len(model)))):
        log.compacted(manifest(model[count - 1].end_offset if count else 0))
    for seq, (records, size, time, _, which) in enumerate(later, start=len(model)):
        made = add(log, seq, records, size, time, epoch=50, session=SessionId(UUID(int=which)))
        model.append(made)
        times.append(time)
    log.begin_flight(log.assigned)
    log.advance_durable(log.assigned)
    left, times = model[count:], times[count:]
    assert list(log.ranges()) == left
    assert log.uncompacted_bytes == log.size_bytes == sum(each.size_bytes for each in left)
    for index, each in enumerate(left):
        assert log.index_of(each.base_offset) == log.index_of(each.end_offset - 1) == index
        assert log.readable_bytes(each.base_offset) == sum(behind.size_bytes for behind in left[index:])
        assert log.epoch_at(each.base_offset) == each.leader_epoch
    for time in range(-1, 22):
        expected = next((index for index in range(len(left)) if times[index] >= time), None)
        assert log.index_at_time(time) == expected
    epochs = {each.leader_epoch: each.base_offset for each in reversed(left)}
    assert {each.leader_epoch: each.start_offset for each in log.epochs()} == epochs


def test_segments_lie_below_the_ranges() -> None:
    log, model = durable_log([(10, 100, 9, 1, 0)] * 3)
    epochs = (EpochStart(leader_epoch=1, start_offset=0), EpochStart(leader_epoch=2, start_offset=15))
    log.compacted(manifest(20, segment(0, 8, time=7), segment(12, 19, size=500, time=3), epochs=epochs))
    assert (log.compacted_end, log.durable_ranges, log.version) == (20, 1, 1)
    assert log.size_bytes == 1600
    sizes = [log.readable_bytes(offset) for offset in (0, 8, 9, 12, 19, 20, 30)]
    assert sizes == [1600, 1600, 600, 600, 600, 100, 0]
    assert [log.epoch_at(offset) for offset in (0, 14, 15, 20, 30)] == [1, 1, 2, 3, None]
    assert log.at_time(4, 0) == segment(0, 8, time=7)
    assert log.at_time(8, 0) == log.at_time(4, 9) == model[2]
    assert (log.max_time_ms(0), log.max_time_ms(30)) == (9, -1)
    with pytest.raises(ValueError, match="not in the log"):
        log.index_of(19)


@pytest.mark.parametrize("end", [5, 25, 30])
def test_a_manifest_that_ends_elsewhere_is_refused(end: int) -> None:
    """Within a range, in one that is not durable yet, or below what was compacted before."""
    log, _ = durable_log([(10, 100, 9, 0, 0)] * 2)
    log.compacted(manifest(10))
    add(log, 2, 10, 100, 9)
    before = log.version
    with pytest.raises(ValueError, match="a manifest ends"):
        log.compacted(manifest(end))
    assert (log.version, log.compacted_end, len(log)) == (before, 10, 2)


def test_the_log_start_never_goes_back_and_never_passes_what_is_durable() -> None:
    log, _ = durable_log([(10, 100, 9, 0, 0)])
    log.advance_log_start(7)
    log.advance_log_start(3)
    assert log.log_start == 7
    with pytest.raises(ValueError, match="can't start"):
        log.advance_log_start(11)
