"""Whether a history of produces and polls keeps the promises, in the manner of Jepsen's Kafka workload. Pure.

Owns: what spans readers and producers. Does not own: one reading of the log against the acknowledgements
(tests/support/ledger.py: lost, misplaced, duplicated, reordered, hole, two values), which it includes.
Rules, with Jepsen's names:
1 a reader's offsets go up by one while it keeps its assignment (nonmonotonic-poll, poll-skip);
2 a producer's later record has the higher offset, as it was told (nonmonotonic-send);
3 nothing is read that nobody sent (a write from nowhere);
4 in the end the group has read everything that was acknowledged (unseen);
5 an offset has one value, for every reader and every acknowledgement (inconsistent-offsets).
There are no transactions, so no aborted reads: a record whose send failed may be there, once and in order.
Source: https://github.com/jepsen-io/redpanda, `workload/queue.clj`.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable

from tests.chaos.history import Ack, History, Poll
from tests.support.ledger import UNKNOWN_OFFSET, Ledger, Reading, Stamp, Violation, compare_reads

SHOWN_OF_A_KIND = 5


def judge(history: History, truth: Reading, *, is_over: bool) -> list[Violation]:
    """`truth`: the whole log, read after every acknowledgement. `is_over`: the group should have read it."""
    ledger = Ledger()
    for ack in history.acks:
        ledger.acknowledged(ack.stamp, ack.place)
    return [
        *ledger.judge(truth),
        *compare_reads(truth, ((poll.place, poll.stamp) for poll in history.polls)),
        *polls_in_disorder(history.polls),
        *sends_in_disorder(history.acks),
        *from_nowhere(history, truth),
        *(unseen(history.acks, history.polls) if is_over else ()),
    ]


def polls_in_disorder(polls: Iterable[Poll]) -> list[Violation]:
    """Rule 1."""
    found = []
    last: dict[tuple[str, int, int], int] = {}
    for poll in polls:
        key = (poll.reader, poll.life, poll.place.partition)
        before = last.get(key)
        last[key] = poll.place.offset
        if before is None or poll.place.offset == before + 1:
            continue
        kind = "poll went back" if poll.place.offset <= before else "poll skipped"
        found.append(Violation(kind=kind, what=f"{poll.reader} was given {poll.place} after offset {before}"))
    return found


def sends_in_disorder(acks: Iterable[Ack]) -> list[Violation]:
    """Rule 2."""
    told: defaultdict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for ack in acks:
        if ack.place.offset != UNKNOWN_OFFSET:
            told[ack.stamp.producer, ack.place.partition].append((ack.stamp.number, ack.place.offset))
    return [
        Violation(
            kind="send went back",
            what=f"{producer} was told {offset} for number {number} in partition {partition},"
            f" and {offset_after} for number {number_after}",
        )
        for (producer, partition), pairs in told.items()
        for (number, offset), (number_after, offset_after) in itertools.pairwise(sorted(pairs))
        if offset_after <= offset
    ]


def from_nowhere(history: History, truth: Reading) -> list[Violation]:
    """Rule 3."""

    def was_sent(partition: int, stamp: Stamp) -> bool:
        known = history.sent.get((stamp.producer, partition))
        return stamp.producer in history.producers if known is None else stamp.number <= known

    return [
        Violation(kind="from nowhere", what=f"{stamp} is at {place}, and nobody sent it")
        for place, stamp in truth.items()
        if not was_sent(place.partition, stamp)
    ]


def unseen(acks: Collection[Ack], polls: Iterable[Poll]) -> list[Violation]:
    """Rule 4."""
    seen = {(poll.place.partition, poll.stamp) for poll in polls}
    return [
        Violation(kind="unseen", what=f"{ack.stamp} was acknowledged at {ack.place}, and no reader got it")
        for ack in acks
        if (ack.place.partition, ack.stamp) not in seen
    ]


def summary(violations: Iterable[Violation]) -> list[str]:
    """A line for each of the first of a kind, and how many more there are."""
    kinds: defaultdict[str, list[Violation]] = defaultdict(list)
    for violation in violations:
        kinds[violation.kind].append(violation)
    lines = []
    for kind, found in sorted(kinds.items()):
        lines += [str(each) for each in found[:SHOWN_OF_A_KIND]]
        if len(found) > SHOWN_OF_A_KIND:
            lines.append(f"{kind}: {len(found)} of them")
    return lines
