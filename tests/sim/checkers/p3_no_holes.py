"""Promise 3: no holes, no reordering.

"Offsets of a partition are contiguous at append; one idempotent producer's batches appear in sequence order,
exactly once, across owner changes."

Owns: the judgement of that sentence. Does not own: which value an offset has (promises 1 and 2).
Clauses: 1 each answer begins at its position and has no gap; 2 the final read has none from log start to high
watermark; 3 a value is once in its partition, or as often as it was sent without idempotence; 4 a producer's
sequences rise by one in the order of the log, from 0 on where the log is known from its beginning; or from
the first that its client sent again after it had given all before it up: nobody knows that producer then, and
whatever comes first is taken, as in Kafka.
"""

from collections import defaultdict
from itertools import pairwise
from math import inf
from typing import NamedTuple

from libs.model.ids import TopicPartition
from tests.sim.checkers.story import SeenAt, Story, tell
from tests.sim.checkers.violation import Violation
from tests.sim.history import History

NAME = "p3_no_holes"


def check(history: History) -> list[Violation]:
    """What breaks the promise."""
    story = tell(history)
    found = [*_holes_in_answers(story), *_holes_at_the_end(history)]
    for tp, known in story.truth.items():
        found += _repeated(story, tp, known)
        found += _out_of_order(story, tp, known)
    return found


def _holes_in_answers(story: Story) -> list[Violation]:
    found = []
    for read in story.reads:
        offsets = [record.offset for record in read.answer.records]
        wanted = list(range(read.position, read.position + len(offsets)))
        if offsets != wanted:
            found.append(
                Violation(
                    checker=NAME,
                    what=f"a fetch of {read.tp} from {read.position} returned the offsets {_short(offsets)}",
                    evidence=(read.asked, read.answered),
                )
            )
    return found


def _holes_at_the_end(history: History) -> list[Violation]:
    found = []
    for tp, read in ({} if history.end is None else history.end.reads).items():
        offsets = [record.offset for record in read.records]
        if not read.error and offsets != list(range(read.log_start, read.high_watermark)):
            found.append(
                Violation(
                    checker=NAME,
                    what=(
                        f"at the end {tp} is {read.log_start}..{read.high_watermark},"
                        f" and has the offsets {_short(offsets)}"
                    ),
                )
            )
    return found


def _short(offsets: list[int]) -> str:
    """Runs of offsets: 0-3, 5-9."""
    runs: list[list[int]] = []
    for offset in offsets:
        if runs and offset == runs[-1][1] + 1:
            runs[-1][1] = offset
        else:
            runs.append([offset, offset])
    return ", ".join(f"{first}-{last}" for first, last in runs) or "none"


def _repeated(story: Story, tp: TopicPartition, known: dict[int, SeenAt]) -> list[Violation]:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for offset, seen in known.items():
        places[seen.record.value].append(offset)
    found = []
    for value, offsets in places.items():
        sends = story.sends_of.get(value, [])
        idempotent = any(batch.sent.producer_id >= 0 for batch in sends)
        allowed = 1 if idempotent else max(1, len(sends))
        if len(offsets) > allowed:
            found.append(
                Violation(
                    checker=NAME,
                    what=(
                        f"{value} is at {sorted(offsets)} of {tp}, and was sent {len(sends)} times"
                        + (" by an idempotent producer" if idempotent else "")
                    ),
                    evidence=tuple(known[offset].entry for offset in sorted(offsets)),
                )
            )
    return found


class _Numbered(NamedTuple):
    offset: int
    sequence: int
    value: str


def _out_of_order(story: Story, tp: TopicPartition, known: dict[int, SeenAt]) -> list[Violation]:
    of_producer: defaultdict[tuple[int, int], list[_Numbered]] = defaultdict(list)
    for offset in sorted(known):
        value = known[offset].record.value
        for batch in story.sends_of.get(value, ()):
            if batch.sent.producer_id >= 0:
                producer = (batch.sent.producer_id, batch.sent.producer_epoch)
                sequence = batch.sent.base_sequence + batch.sent.values.index(value)
                of_producer[producer].append(_Numbered(offset, sequence, value))
                break
    unbroken = _unbroken(known)
    found = []
    for (producer_id, epoch), records in of_producer.items():
        first = records[0]
        if (
            first.sequence != 0
            and 0 in known
            and unbroken[first.offset] == unbroken[0]
            and not _given_up_before(story, tp, (producer_id, epoch), first)
        ):
            found.append(_wrong(tp, producer_id, epoch, None, first, known))
        for before, after in pairwise(records):
            complete = unbroken[before.offset] == unbroken[after.offset]
            if after.sequence <= before.sequence or (complete and after.sequence != before.sequence + 1):
                found.append(_wrong(tp, producer_id, epoch, before, after, known))
    return found


def _given_up_before(story: Story, tp: TopicPartition, producer: tuple[int, int], first: _Numbered) -> bool:
    """Whether the client sent `first` when it had heard of all that goes before it, and of no success."""
    sends = {
        batch.asked: batch
        for batches in story.sends_of.values()
        for batch in batches
        if batch.sent.tp == tp and (batch.sent.producer_id, batch.sent.producer_epoch) == producer
    }
    earlier = [batch for batch in sends.values() if batch.sent.base_sequence < first.sequence]
    own = [asked for asked, batch in sends.items() if first.value in batch.sent.values]
    heard = max((inf if batch.answered is None else batch.answered for batch in earlier), default=inf)
    return not any(batch.promised for batch in earlier) and max(own) > heard


def _unbroken(known: dict[int, SeenAt]) -> dict[int, int]:
    """For each offset the first of the run of known offsets that it is in."""
    runs: dict[int, int] = {}
    for offset in sorted(known):
        runs[offset] = runs.get(offset - 1, offset)
    return runs


def _wrong(
    tp: TopicPartition,
    producer_id: int,
    epoch: int,
    before: _Numbered | None,
    after: _Numbered,
    known: dict[int, SeenAt],
) -> Violation:
    told = "first of all" if before is None else f"behind sequence {before.sequence} at {before.offset}"
    return Violation(
        checker=NAME,
        what=(
            f"producer {producer_id} epoch {epoch}: sequence {after.sequence} ({after.value}) is at"
            f" {after.offset} of {tp}, {told}"
        ),
        evidence=tuple(known[each.offset].entry for each in (before, after) if each is not None),
    )
