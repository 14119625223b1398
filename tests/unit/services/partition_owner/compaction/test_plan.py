"""What is due when, what makes a segment, what is merged: pure arithmetic."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from libs.model.ids import ChainSeq, LeaderEpoch, Offset
from libs.model.limits import KIB, MIB
from libs.segments.keys import SegmentName
from libs.segments.manifest import SegmentRef
from services.partition_owner.compaction.plan import (
    CompactionFacts,
    CompactionLimits,
    due_at,
    kept_segments,
    next_merge,
    next_ranges,
)
from services.partition_owner.log import LogRange
from tests.support.segments import NONCE, SESSION

LIMITS = CompactionLimits(
    bytes_target=1000,
    age_seconds=600.0,
    behind_seconds=60.0,
    segment_bytes=100 * MIB,
    merge_factor=8,
    position_seqs_max=100,
)


def facts(
    *,
    uncompacted: int = 0,
    since: float | None = None,
    behind: bool = False,
    idle_seqs: int = 0,
    tail_share: float = 0.0,
) -> CompactionFacts:
    return CompactionFacts(
        uncompacted_bytes=uncompacted,
        uncompacted_since=since,
        ranges=1,
        tail_share=tail_share,
        behind=behind,
        idle_seqs=idle_seqs,
        touched_at=5.0,
    )


def test_when_a_partition_is_due() -> None:
    assert due_at(facts(), LIMITS, jitter=0.0) is None
    assert due_at(facts(uncompacted=10, since=7.0), LIMITS, jitter=0.0) == 607.0
    assert due_at(facts(uncompacted=1000, since=7.0), LIMITS, jitter=0.0) == 7.0
    assert due_at(facts(uncompacted=10, since=7.0, behind=True), LIMITS, jitter=0.0) == 67.0
    assert due_at(facts(behind=True), LIMITS, jitter=0.0) == 65.0
    assert due_at(facts(idle_seqs=101), LIMITS, jitter=0.0) == 605.0
    assert due_at(facts(idle_seqs=100), LIMITS, jitter=0.0) is None
    large = replace(LIMITS, bytes_target=1 * MIB)
    assert due_at(facts(uncompacted=10, since=7.0, tail_share=0.4), LIMITS, jitter=0.0) == 607.0
    assert due_at(facts(uncompacted=10, since=7.0, tail_share=0.5), LIMITS, jitter=0.0) == 37.0
    assert due_at(facts(uncompacted=200 * KIB, since=7.0, tail_share=0.5), large, jitter=0.0) == 607.0
    early = due_at(facts(uncompacted=10, since=7.0), LIMITS, jitter=1.0)
    assert early is not None
    assert 307.0 < early < 607.0


def ranges(*sizes: int) -> list[LogRange]:
    return [
        LogRange(SESSION, ChainSeq(index), LeaderEpoch(1), 10 * index, 10 * index + 10, 0, size)
        for index, size in enumerate(sizes)
    ]


def test_ranges_of_a_segment() -> None:
    all_of = ranges(30, 30, 30, 30)
    assert next_ranges(all_of, bytes_max=100) == all_of[:3]
    assert next_ranges(all_of, bytes_max=1) == all_of[:1]
    assert next_ranges([], bytes_max=100) == []


def segments(*sizes: int) -> list[SegmentRef]:
    return [
        SegmentRef(
            name=SegmentName(Offset(10 * index), LeaderEpoch(1), NONCE),
            last_offset=10 * index + 9,
            record_count=10,
            size_bytes=size,
            index_bytes=100,
            max_timestamp_ms=index,
        )
        for index, size in enumerate(sizes)
    ]


def test_segments_below_the_log_start_are_not_kept() -> None:
    all_of = segments(1, 1, 1)
    assert kept_segments(all_of, 0) == tuple(all_of)
    assert kept_segments(all_of, 9) == tuple(all_of)
    assert kept_segments(all_of, 10) == tuple(all_of[1:])
    assert kept_segments(all_of, 100) == ()


def test_eight_of_a_tier_are_merged_with_what_is_smaller_between() -> None:
    small, middle, full = 10 * KIB, 2 * MIB, 60 * MIB
    assert next_merge(segments(*[small] * 7), LIMITS) == ()
    assert len(next_merge(segments(full, *[small] * 8), LIMITS)) == 8
    assert next_merge(segments(full, middle, *[small] * 7), LIMITS) == ()
    assert len(next_merge(segments(full, *[middle] * 4, small, *[middle] * 4), LIMITS)) == 9
    assert next_merge(segments(*[full] * 20), LIMITS) == ()
    assert next_merge(segments(*[small] * 4, full, *[small] * 4), LIMITS) == ()


def test_a_run_that_fills_a_segment_is_merged_whatever_its_number() -> None:
    merged = next_merge(segments(*[30 * MIB] * 4), LIMITS)
    assert [each.size_bytes for each in merged] == [30 * MIB] * 3


def merge_all(sizes: list[int], limits: CompactionLimits) -> tuple[list[int], int]:
    """What is left when nothing is to be merged any more, and how many bytes were rewritten."""
    rewritten = 0
    while True:
        all_of = segments(*sizes)
        merged: Sequence[SegmentRef] = next_merge(all_of, limits)
        if not merged:
            return sizes, rewritten
        first, size = all_of.index(merged[0]), sum(each.size_bytes for each in merged)
        assert len(merged) > 1
        assert size <= limits.segment_bytes
        rewritten += size
        sizes = [*sizes[:first], size, *sizes[first + len(merged) :]]


@given(st.lists(st.integers(KIB, 40 * MIB), min_size=1, max_size=120))
def test_merging_ends_and_rewrites_each_byte_a_few_times(arriving: list[int]) -> None:
    sizes: list[int] = []
    rewritten = 0
    for size in arriving:
        sizes, more = merge_all([*sizes, size], LIMITS)
        rewritten += more
    assert sum(sizes) == sum(arriving)
    tiers = 5  # up to 512 KiB, 4 MiB, 32 MiB, 50 MiB; and the merge that fills one
    assert rewritten <= tiers * sum(arriving)


def test_a_year_of_small_segments_stays_short() -> None:
    """A MiB every ten minutes: a few dozen segments beside the full ones, each byte rewritten twice or so."""
    limits = LIMITS
    sizes: list[int] = []
    rewritten = 0
    for _ in range(2000):
        full = [each for each in sizes if each >= 50 * MIB]
        rest = [each for each in sizes if each < 50 * MIB]
        rest, more = merge_all([*rest, MIB], limits)
        rewritten += more
        sizes = full + rest
    assert len([each for each in sizes if each < 50 * MIB]) <= 3 * limits.merge_factor
    assert rewritten <= 3 * 2000 * MIB
