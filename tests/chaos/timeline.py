"""Throughput, latency and pauses of a history by the second. Pure.

Owns: the arithmetic. Does not own: the drawing (report.py).
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.history import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """One second of a run."""

    acks: int
    polls: int
    p50_seconds: float | None
    """Of acknowledgements whose latency is known; None without any."""
    p99_seconds: float | None


def seconds_of(history: History, began_at: float, ended_at: float) -> list[Second]:
    """One for each second from `began_at` on."""
    count = max(1, math.ceil(ended_at - began_at))
    acks, polls = [0] * count, [0] * count
    latencies: list[list[float]] = [[] for _ in range(count)]
    for ack in history.acks:
        index = int(ack.at - began_at)
        if ack.at >= began_at and index < count:
            acks[index] += 1
            if ack.latency_seconds >= 0:
                latencies[index].append(ack.latency_seconds)
    for poll in history.polls:
        index = int(poll.at - began_at)
        if poll.at >= began_at and index < count:
            polls[index] += 1
    return [
        Second(
            acks=acks[index],
            polls=polls[index],
            p50_seconds=quantile(latencies[index], 0.5),
            p99_seconds=quantile(latencies[index], 0.99),
        )
        for index in range(count)
    ]


def quantile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that is at least as great as `share` of them; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def longest_pause(times: Sequence[float], began_at: float, ended_at: float) -> tuple[float, float]:
    """(seconds, when it began) of the longest time without one of `times`."""
    marks = [began_at, *(at for at in sorted(times) if began_at < at < ended_at), ended_at]
    return max((after - before, before) for before, after in itertools.pairwise(marks))
