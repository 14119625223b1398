"""One partition's log against a plain list of ranges."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.ids import LeaderEpoch, SessionId
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
