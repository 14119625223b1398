"""Where logs start, by time and by size, and what a topic's configs say about it."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.ids import LeaderEpoch, Offset, Partition, TopicId, TopicPartition
from libs.model.limits import KIB
from libs.segments.keys import SegmentName
from libs.segments.manifest import Manifest, SegmentRef
from services.partition_owner.compaction.policy import TopicPolicy, topic_policy
from services.partition_owner.compaction.retention import retained_from
from services.partition_owner.log import PartitionLog
from tests.support.segments import NONCE, SESSION

TP = TopicPartition(TopicId(UUID(int=1)), Partition(0))
RECORDS = 10


def policy(*, ms: int | None = None, size: int | None = None) -> TopicPolicy:
    return TopicPolicy(deletes=True, retention_ms=ms, retention_bytes=size, segment_bytes=None)


def log_of(times_ms: list[int], *, segments: int, size_bytes: int = 1000) -> PartitionLog:
    """Ten records for each time: the first `segments` in segments, the others in ranges."""
    refs = tuple(
        SegmentRef(
            name=SegmentName(Offset(RECORDS * index), LeaderEpoch(0), NONCE),
            last_offset=RECORDS * index + RECORDS - 1,
            record_count=RECORDS,
            size_bytes=size_bytes,
            index_bytes=100,
            max_timestamp_ms=time_ms,
        )
        for index, time_ms in enumerate(times_ms[:segments])
    )
    end = RECORDS * segments
    log = PartitionLog(log_start=0, next_offset=end)
    log.compacted(
        Manifest(tp=TP, leader_epoch=0, n=0, created_ms=0, log_start=0, end_offset=end, segments=refs)
    )
    for seq, time_ms in enumerate(times_ms[segments:]):
        log.append(
            session=SESSION,
            leader_epoch=LeaderEpoch(0),
            seq=seq,
            base_offset=log.assigned,
            record_count=RECORDS,
            position=8,
            size_bytes=size_bytes,
            max_timestamp_ms=time_ms,
        )
    log.begin_flight(log.assigned)
    log.advance_durable(log.assigned)
    return log


@pytest.mark.parametrize("segments", [0, 2, 4])
@pytest.mark.parametrize(
    ("times_ms", "start"),
    [
        ([100, 200, 300, 400], 20),
        ([100, 300, 200, 400], 10),
        ([250, 100, 100, 100], 0),
        ([100, 100, 100, 100], 40),
        ([-1, 100, 300, 400], 20),
        ([-1, -1, 300, 400], 0),
        ([-1, -1, -1, -1], 0),
        ([100, -1, -1, -1], 10),
        ([100, -1, 300, 400], 10),
        ([100, -1, 100, -1], 30),
    ],
)
def test_by_time(times_ms: list[int], start: int, segments: int) -> None:
    log = log_of(times_ms, segments=segments)
    assert retained_from(log, policy(ms=1000), now_ms=1250) == start


@pytest.mark.parametrize("segments", [0, 2, 4])
@pytest.mark.parametrize(("size", "start"), [(4000, 0), (3999, 0), (3000, 10), (1, 30), (0, 40), (9999, 0)])
def test_by_size(size: int, start: int, segments: int) -> None:
    log = log_of([1, 2, 3, 4], segments=segments)
    assert retained_from(log, policy(size=size), now_ms=5) == start


def test_what_is_not_durable_stays() -> None:
    log = log_of([1, 2], segments=1)
    log.append(
        session=SESSION,
        leader_epoch=LeaderEpoch(0),
        seq=9,
        base_offset=20,
        record_count=5,
        position=8,
        size_bytes=1000,
        max_timestamp_ms=1,
    )
    assert retained_from(log, policy(ms=1, size=0), now_ms=100) == 20


def test_no_limit_is_no_limit() -> None:
    assert retained_from(log_of([1, 2], segments=1), policy(), now_ms=1 << 60) == 0


@given(
    st.lists(st.integers(-1, 50), max_size=12),
    st.integers(0, 12),
    st.integers(0, 120),
    st.one_of(st.none(), st.integers(0, 60)),
    st.one_of(st.none(), st.integers(0, 13_000)),
)
def test_the_start_never_goes_back_and_keeps_enough(
    times_ms: list[int], segments: int, log_start: int, ms: int | None, size: int | None
) -> None:
    log = log_of(times_ms, segments=min(segments, len(times_ms)))
    log.advance_log_start(min(log_start, log.durable))
    before = log.log_start
    start = retained_from(log, policy(ms=ms, size=size), now_ms=50)
    assert before <= start <= log.durable
    if start > before:
        assert start % RECORDS == 0
        if ms is None and size is not None:
            assert log.readable_bytes(start) >= size
        if size is None and ms is not None:
            gone = times_ms[before // RECORDS : start // RECORDS]
            assert all(each < 50 - ms for each in gone)


def test_what_configs_say() -> None:
    default = topic_policy({})
    assert default.deletes
    assert default.retention_ms == 7 * 24 * 3600 * 1000
    assert default.retention_bytes is None
    assert default.segment_bytes is None
    forever = topic_policy({"retention.ms": "-1", "retention.bytes": "5", "segment.bytes": "14"})
    assert (forever.retention_ms, forever.retention_bytes) == (None, 5)
    assert forever.segment_bytes == 64 * KIB
    compacted = topic_policy({"cleanup.policy": "compact", "retention.ms": "5", "retention.bytes": "5"})
    assert (compacted.deletes, compacted.retention_ms, compacted.retention_bytes) == (False, None, None)
    assert topic_policy({"cleanup.policy": "compact, delete", "retention.ms": "5"}).retention_ms == 5
