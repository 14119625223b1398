"""Promise 4: frontiers only move forward.

"Log start never goes back; the high watermark never goes back within a leader epoch, and a new epoch starts
at or above everything acknowledged before. A consumer positioned at a valid offset never gets
OFFSET_OUT_OF_RANGE because it met a stale owner."

Owns: the judgement of these sentences. Does not own: whether the log start had a reason to move (promise 1).
Clauses:
1 an answer of epoch e that was asked after an answer of epoch <= e came has no lower log start and, within
  one epoch, no lower high watermark;
2 an answer of epoch e is at or above everything that was acknowledged under epochs <= e before it was asked,
  and not below a log start that DeleteRecords was acknowledged with;
3 OFFSET_OUT_OF_RANGE for a position at or above the log start that was committed when the answer came, and at
  or below what was known to exist when it was asked, is wrong, whoever answers;
4 a log start that anybody sees is in the metadata store by then (design section 3, rule 14): of the topic
  that was asked, or of one that had its name before: who was cut off may serve that one still.
The epoch of an answer is the one that the client sent along: another owner would have refused it.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.model.cluster import Assignment, PartitionState, Topic
from libs.model.ids import TopicId, TopicPartition
from tests.sim.checkers.story import Batch, Story, tell
from tests.sim.checkers.violation import Violation
from tests.sim.events import (
    NO_EPOCH,
    DeleteRecordsAcked,
    FetchAnswered,
    FetchAsked,
    ListAnswered,
    ListAsked,
    ProduceAcked,
)
from tests.sim.facts import AssignmentCommitted, StateCommitted, TopicCommitted
from tests.sim.history import History

NAME = "p4_frontiers"
_LATEST, _EARLIEST = -1, -2
_OUT_OF_RANGE = "OFFSET_OUT_OF_RANGE"


def check(history: History) -> list[Violation]:
    """What breaks the promise."""
    story = tell(history)
    return [
        *_Frontiers(history, story).judge(),
        *_out_of_range(history, story),
        *_served_before_commit(history),
    ]


class _Bound(NamedTuple):
    """A frontier that must not be lower any more, and since which entry."""

    offset: int = 0
    entry: int = -1


class _Demand(NamedTuple):
    """What an answer has to reach, as known when it was asked."""

    log_start: _Bound
    high_watermark: _Bound


@dataclass(slots=True)
class _Known:
    """The greatest frontiers that were seen or promised, by epoch."""

    log_start: dict[int, _Bound] = field(default_factory=dict)
    seen_mark: dict[int, _Bound] = field(default_factory=dict)
    acked: dict[int, _Bound] = field(default_factory=dict)

    def demand(self, epoch: int) -> _Demand:
        log_start = _greatest(self.log_start, epoch)
        seen, acked = self.seen_mark.get(epoch, _Bound()), _greatest(self.acked, epoch)
        return _Demand(log_start, max(seen, acked))


def _greatest(bounds: dict[int, _Bound], epoch: int) -> _Bound:
    return max((bound for of, bound in bounds.items() if of <= epoch), default=_Bound())


def _raise(bounds: dict[int, _Bound], epoch: int, offset: int, entry: int) -> None:
    if offset > bounds.get(epoch, _Bound()).offset:
        bounds[epoch] = _Bound(offset, entry)


class _Frontiers:
    """Clauses 1 and 2, in one pass."""

    def __init__(self, history: History, story: Story) -> None:
        self._history = history
        self._story = story
        self._promised = {batch.answered: batch for batch in story.promises()}
        self._known: defaultdict[TopicPartition, _Known] = defaultdict(_Known)
        self._epochs: dict[TopicPartition, int] = {}
        self._demands: dict[int, _Demand] = {}
        self._found: list[Violation] = []

    def judge(self) -> list[Violation]:
        for entry in self._history.entries:
            match entry.event:
                case FetchAsked(tp=tp, leader_epoch=epoch) | ListAsked(tp=tp, leader_epoch=epoch):
                    if epoch != NO_EPOCH:
                        self._demands[entry.number] = self._known[tp].demand(epoch)
                case FetchAnswered(error="") | ListAnswered(error=""):
                    self._answered(entry.number, entry.event)
                case ProduceAcked():
                    self._acked(entry.number, self._promised.get(entry.number))
                case DeleteRecordsAcked(call=call, log_start=start):
                    self._deleted(entry.number, self._history.event(call).tp, start)
                case AssignmentCommitted(tp=tp, assignment=Assignment(leader_epoch=epoch)):
                    self._epochs[tp] = epoch
        return self._found

    def _answered(self, entry: int, answer: FetchAnswered | ListAnswered) -> None:
        call = answer.call
        demand = self._demands.pop(call, None)
        if demand is None:
            return
        asked = self._history.event(call)
        tp, epoch = asked.tp, asked.leader_epoch
        if isinstance(answer, FetchAnswered):
            mark, start = answer.high_watermark, answer.log_start
        else:
            mark = answer.offset if asked.timestamp == _LATEST else -1
            start = answer.offset if asked.timestamp == _EARLIEST else -1
        for what, offset, wanted in (
            ("log start", start, demand.log_start),
            ("high watermark", mark, demand.high_watermark),
        ):
            if 0 <= offset < wanted.offset:
                self._found.append(
                    Violation(
                        checker=NAME,
                        what=f"the {what} of {tp} is {offset} in epoch {epoch}, after it was {wanted.offset}",
                        evidence=(wanted.entry, call, entry),
                    )
                )
        known = self._known[tp]
        _raise(known.log_start, epoch, start, entry)
        _raise(known.seen_mark, epoch, mark, entry)

    def _deleted(self, entry: int, tp: TopicPartition, log_start: int) -> None:
        if tp in self._epochs:
            _raise(self._known[tp].log_start, self._epochs[tp], log_start, entry)

    def _acked(self, entry: int, batch: Batch | None) -> None:
        """Under which epoch: the later one of the record's own and the assignment's at the time.

        A later owner acknowledges what an earlier one stored, when it is sent again: the earlier one, which
        has not heard of its end, need not know that it is stored.
        """
        if batch is None:
            return
        tp = batch.sent.tp
        for offset, value in batch.places():
            seen = self._story.truth[tp].get(offset)
            epochs = [self._epochs[tp]] if tp in self._epochs else []
            if seen is not None and seen.record.value == value and seen.record.leader_epoch != NO_EPOCH:
                epochs.append(seen.record.leader_epoch)
            if epochs:
                _raise(self._known[tp].acked, max(epochs), offset + 1, entry)


def _out_of_range(history: History, story: Story) -> list[Violation]:
    """Clause 3."""
    starts = _starts_when_answered(history, story)
    found = []
    existing: defaultdict[TopicPartition, list[tuple[int, int]]] = defaultdict(list)
    for batch in story.promises():
        assert batch.answered is not None
        for offset, _ in batch.places():
            existing[batch.sent.tp].append((batch.answered, offset + 1))
    for read in story.reads:
        if not read.answer.error:
            existing[read.tp].append((read.answered, read.answer.high_watermark))
    for read in story.reads:
        if read.answer.error != _OUT_OF_RANGE or read.position < starts[read.answered]:
            continue
        proof = next(
            (entry for entry, end in existing[read.tp] if entry < read.asked and end >= read.position), None
        )
        if read.position == 0 or proof is not None:
            found.append(
                Violation(
                    checker=NAME,
                    what=f"a fetch of {read.tp} from the valid offset {read.position} was out of range",
                    evidence=(*(() if proof is None else (proof,)), read.asked, read.answered),
                )
            )
    return found


def _starts_when_answered(history: History, story: Story) -> dict[int, int]:
    """By the entry of each answer: the log start that was committed by then (clause 4)."""
    asked = {read.answered: read.tp for read in story.reads if read.answer.error == _OUT_OF_RANGE}
    committed = _Committed()
    starts = {}
    for entry in history.entries:
        committed.hear(entry.event)
        if entry.number in asked:
            starts[entry.number] = committed.start(asked[entry.number]) or 0
    return starts


class _Committed:
    """The greatest log start that the metadata store had, also of topics that had the name before."""

    def __init__(self) -> None:
        self._starts: dict[TopicPartition, int] = {}
        self._names: dict[TopicId, str] = {}
        self._of_name: defaultdict[str, list[TopicId]] = defaultdict(list)

    def hear(self, event: object) -> None:
        """In the order of the history."""
        match event:
            case TopicCommitted(name=name, topic=Topic(topic_id=topic_id)):
                if topic_id not in self._names:
                    self._names[topic_id] = name
                    self._of_name[name].append(topic_id)
            case StateCommitted(tp=tp, state=PartitionState(log_start_offset=start)):
                self._starts[tp] = max(self._starts.get(tp, 0), start)

    def start(self, tp: TopicPartition) -> int | None:
        """None where the history has no state of it."""
        if tp not in self._starts:
            return None
        topics = self._of_name[self._names[tp.topic_id]] if tp.topic_id in self._names else [tp.topic_id]
        return max(self._starts.get(TopicPartition(each, tp.partition), 0) for each in topics)


def _served_before_commit(history: History) -> list[Violation]:
    """Clause 4, where the history has the metadata store's facts."""
    committed = _Committed()
    found = []
    for entry in history.entries:
        committed.hear(entry.event)
        told = _told_start(history, entry.event)
        had = None if told is None else committed.start(told.tp)
        if told is not None and had is not None and told.start > had:
            what = f"the log start {told.start} of {told.tp} was {told.what} while"
            what += f" the metadata store had {had}"
            found.append(Violation(checker=NAME, what=what, evidence=(told.call, entry.number)))
    return found


class _Told(NamedTuple):
    call: int
    tp: TopicPartition
    start: int
    what: str


def _told_start(history: History, event: object) -> _Told | None:
    """The log start that an answer has."""
    match event:
        case FetchAnswered(call=call, log_start=start, error=""):
            return _Told(call, history.event(call).tp, start, "served")
        case ListAnswered(call=call, offset=start, error=""):
            asked = history.event(call)
            return _Told(call, asked.tp, start, "served") if asked.timestamp == _EARLIEST else None
        case DeleteRecordsAcked(call=call, log_start=start):
            return _Told(call, history.event(call).tp, start, "acknowledged")
        case _:
            return None
