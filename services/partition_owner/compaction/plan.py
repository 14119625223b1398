"""What is to be rewritten, and when. Pure.

Owns: when a partition is due, which ranges make the next segment, which segments are merged, which leave the
manifest. Does not own: reading, writing, committing.
Rules: 1 what nothing is appended to is compacted once and then left alone (design section 3, rule 15: a quiet
cluster is silent); 2 small ranges are compacted before they leave the tail cache: read back, each would cost
a GET of its own; 3 merging is size-tiered: a byte is rewritten at most once a tier, and there are a handful
of tiers between the smallest segment and `segment_bytes`; 4 nothing wholly below the log start is copied.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from libs.model.limits import KIB
from libs.segments.layout import SEGMENT_RECORDS_MAX
from libs.segments.manifest import SegmentRef
from services.partition_owner.log import LogRange

_TIER_BYTES_MIN = 64 * KIB
_FULL_SHARE = 2
"""A segment of half the largest size is not merged any more."""
_MERGED_MAX = 64
"""Segments in one merge."""
_JITTER_SHARE = 0.25
_TAIL_SHARE = 0.5
_SMALL_RANGE_BYTES = 128 * KIB
_TAIL_SECONDS_MIN = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionLimits:
    bytes_target: int
    """Uncompacted bytes at which a partition is due at once."""
    age_seconds: float
    """An uncompacted record gets no older."""
    behind_seconds: float
    """The same where the records lie in chains of others: openings read those (after takeovers)."""
    segment_bytes: int
    merge_factor: int
    position_seqs_max: int
    """Objects that an idle partition's position may lie behind the chain's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionFacts:
    """A partition now. Times are Trio's clock."""

    uncompacted_bytes: int
    uncompacted_since: float | None
    ranges: int
    """How many ranges these bytes are in."""
    tail_share: float
    """How much of the tail cache was written since the first of them: at 1 it has left memory."""
    behind: bool
    """Whether its state names positions in chains of other sessions or epochs."""
    idle_seqs: int
    """How far its own position lies behind the durable end of the chain, with no record in between."""
    touched_at: float
    """When it was opened or last committed."""


def due_at(facts: CompactionFacts, limits: CompactionLimits, *, jitter: float) -> float | None:
    """When it is to be compacted; None where there is nothing to do. `jitter`: 0 to 1, a partition's own."""
    share = 1 - _JITTER_SHARE * jitter
    since = facts.uncompacted_since
    if since is not None:
        if facts.uncompacted_bytes >= limits.bytes_target:
            return since
        seconds = limits.behind_seconds if facts.behind else limits.age_seconds
        if facts.tail_share >= _TAIL_SHARE and facts.uncompacted_bytes < facts.ranges * _SMALL_RANGE_BYTES:
            seconds = min(seconds, _TAIL_SECONDS_MIN)
        return since + seconds * share
    if facts.behind:
        return facts.touched_at + limits.behind_seconds * share
    if facts.idle_seqs > limits.position_seqs_max:
        return facts.touched_at + limits.age_seconds * share
    return None


def next_ranges(ranges: Iterable[LogRange], *, bytes_max: int) -> list[LogRange]:
    """The first ranges that together have at most `bytes_max`, and records that a segment can count; at least
    one where there is one.

    Those below the log start count too: they are not copied, but read, because their producers are kept.
    """
    taken: list[LogRange] = []
    total_bytes = records = 0
    for each in ranges:
        total_bytes += each.size_bytes
        records += each.end_offset - each.base_offset
        if taken and (total_bytes > bytes_max or records > SEGMENT_RECORDS_MAX):
            break
        taken.append(each)
    return taken


def kept_segments(segments: Sequence[SegmentRef], log_start: int) -> tuple[SegmentRef, ...]:
    """Those with a record at or after the log start."""
    return tuple(each for each in segments if each.last_offset >= log_start)


def next_merge(segments: Sequence[SegmentRef], limits: CompactionLimits) -> Sequence[SegmentRef]:
    """Adjacent segments to be made one; empty where none should be.

    A run of segments of a tier and below is merged once it has `merge_factor` of that tier, or once it fills
    a segment.
    """
    full_bytes = limits.segment_bytes // _FULL_SHARE
    tiers = [
        None
        if each.size_bytes >= full_bytes or each.record_count >= SEGMENT_RECORDS_MAX // _FULL_SHARE
        else _tier(each.size_bytes, limits.merge_factor)
        for each in segments
    ]
    for tier in sorted({each for each in tiers if each is not None}):
        for begin, end in _runs(tiers, tier):
            run = segments[begin:end]
            filled = sum(each.size_bytes for each in run) >= limits.segment_bytes
            if filled or tiers[begin:end].count(tier) >= limits.merge_factor:
                merged = _fitting(run, limits.segment_bytes)
                if len(merged) > 1:
                    return merged
    return ()


def _tier(size_bytes: int, factor: int) -> int:
    tier, bound = 0, _TIER_BYTES_MIN * factor
    while size_bytes >= bound:
        tier, bound = tier + 1, bound * factor
    return tier


def _runs(tiers: Sequence[int | None], tier: int) -> Iterable[tuple[int, int]]:
    """Begin and end of each longest run of segments of `tier` and below."""
    begin = None
    for index, each in enumerate([*tiers, None]):
        inside = each is not None and each <= tier
        if inside and begin is None:
            begin = index
        elif not inside and begin is not None:
            yield begin, index
            begin = None


def _fitting(run: Sequence[SegmentRef], segment_bytes: int) -> Sequence[SegmentRef]:
    total_bytes = records = 0
    for count, each in enumerate(run):
        total_bytes += each.size_bytes
        records += each.record_count
        if total_bytes > segment_bytes or records > SEGMENT_RECORDS_MAX or count == _MERGED_MAX:
            return run[:count]
    return run
