"""Whether readers at the end of a topic keep their latency beside a trouble. Pure.

Owns: latencies of what was sent in some windows of time, the verdict over two of them. Does not own:
clients, clocks.
Rules: 1 with and without the trouble are measured in the same minutes and in turn, so that a machine that
gets busy meanwhile is busy for both; 2 a latency may grow by a factor, or up to a floor, whichever is more:
what other programs do to a few milliseconds is no finding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

P50_GROWS_MAX = 4.0
P50_FLOOR_SECONDS = 0.5
P99_GROWS_MAX = 5.0
P99_FLOOR_SECONDS = 2.0
"""Tail readers that stand behind cold reads stand for as long as those take: seconds, for most records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds from sending to reading; `count` 0: nothing was read."""

    count: int
    p50: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TailVerdict:
    """`told` in a few words; `findings`: what must not be."""

    told: str
    findings: tuple[str, ...] = ()


def latency_of(read: Iterable[tuple[float, float]], windows: Sequence[tuple[float, float]]) -> Latency:
    """`read`: (sent at, read at). Counted is what was sent in one of the windows (since, until)."""
    found = sorted(
        seen - sent for sent, seen in list(read) if any(since <= sent < until for since, until in windows)
    )
    if not found:
        return Latency(count=0, p50=0.0, p99=0.0, longest=0.0)
    at = [found[min(len(found) - 1, int(len(found) * share))] for share in (0.5, 0.99)]
    return Latency(count=len(found), p50=at[0], p99=at[1], longest=found[-1])


def judge_tail(beside: Latency, without: Latency) -> TailVerdict:
    """`beside` the trouble, and `without` it in turn."""
    if not beside.count or not without.count:
        return TailVerdict(told="not measured", findings=("the tail was not read in both kinds of windows",))
    findings = []
    for name, there, alone, grows_max, floor_seconds in (
        ("p50", beside.p50, without.p50, P50_GROWS_MAX, P50_FLOOR_SECONDS),
        ("p99", beside.p99, without.p99, P99_GROWS_MAX, P99_FLOOR_SECONDS),
    ):
        bound = max(grows_max * alone, floor_seconds)
        if there > bound:
            findings.append(
                f"the tail's {name} is {there * 1000:.0f} ms beside it, {alone * 1000:.0f} ms without,"
                f" and may be {bound * 1000:.0f} ms"
            )
    word = "lost" if findings else "kept"
    told = (
        f"tail {word}: {beside.p50 * 1000:.0f}, {beside.p99 * 1000:.0f} ms beside it,"
        f" {without.p50 * 1000:.0f}, {without.p99 * 1000:.0f} ms in turn without"
    )
    return TailVerdict(told=told, findings=tuple(findings))
