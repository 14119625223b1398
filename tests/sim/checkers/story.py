"""What happened to each batch, read and topic of a history: what several checkers have to know.

Owns: questions joined with their answers; what is certain about them. Does not own: judgements.
Rules: 1 an acknowledgement counts for a topic id only if the topic could not have been another one by then:
a producer names topics, and a name may have been recreated while the batch was on its way; 2 a question
without an answer is open to the end of the run.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from libs.model.ids import TopicId, TopicPartition
from tests.sim.events import (
    NO_OFFSET,
    FetchAnswered,
    FetchAsked,
    ListAnswered,
    ListAsked,
    ProduceAcked,
    ProduceFailed,
    ProduceSent,
    ProduceUnknown,
    SeenRecord,
    TopicCreated,
    TopicDeleteAsked,
    TopicDeleted,
)
from tests.sim.history import History


class Outcome(Enum):
    ACKED = "acknowledged"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(slots=True, kw_only=True)
class Batch:
    """One ProduceSent and what its client was told."""

    sent: ProduceSent
    asked: int
    answered: int | None = None
    outcome: Outcome = Outcome.UNKNOWN
    base_offset: int = NO_OFFSET

    @property
    def promised(self) -> bool:
        """Whether the cluster promised to keep it."""
        return self.outcome is Outcome.ACKED and self.sent.acks != 0

    def places(self) -> Iterator[tuple[int, str]]:
        """(offset, value) as promised; nothing where no offset was told."""
        if self.base_offset != NO_OFFSET:
            yield from enumerate(self.sent.values, self.base_offset)


@dataclass(slots=True, kw_only=True)
class Read:
    """One FetchAsked with its answer."""

    tp: TopicPartition
    position: int
    leader_epoch: int
    asked: int
    answered: int
    answer: FetchAnswered


@dataclass(slots=True, kw_only=True)
class Listing:
    """One ListAsked with its answer."""

    asked: int
    answered: int
    question: ListAsked
    answer: ListAnswered


@dataclass(slots=True, kw_only=True)
class TopicLife:
    """When a topic id was known to live: entry numbers."""

    name: str
    created: int
    delete_asked: int | None = None
    deleted: int | None = None


@dataclass(slots=True, kw_only=True)
class SeenAt:
    """What was read at an offset first, and by which entry (-1: the final read)."""

    record: SeenRecord
    entry: int


@dataclass(slots=True)
class Story:
    """Built once a history by `tell`."""

    batches: list[Batch] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    topics: dict[TopicId, TopicLife] = field(default_factory=dict)
    sends_of: defaultdict[str, list[Batch]] = field(default_factory=lambda: defaultdict(list))
    """All sends of a value."""
    truth: defaultdict[TopicPartition, dict[int, SeenAt]] = field(default_factory=lambda: defaultdict(dict))
    """What was first read at each offset; the final reads come first: they are complete."""

    def promises(self) -> Iterator[Batch]:
        """Batches that were acknowledged, and certainly for the topic id that they name (rule 1)."""
        for batch in self.batches:
            if batch.promised and not self.is_ambiguous(batch):
                yield batch

    def is_ambiguous(self, batch: Batch) -> bool:
        """Whether another topic may have had the name when the batch arrived."""
        life = self.topics.get(batch.sent.tp.topic_id)
        if life is None or life.delete_asked is None:
            return False
        return batch.answered is None or life.delete_asked < batch.answered


def tell(history: History) -> Story:
    """Joins the history's entries. Not to be changed: the next judge of the same history gets the same."""
    return _tell(history, len(history), id(history.end))


@lru_cache(maxsize=1)
def _tell(history: History, _entries: int, _end: int) -> Story:
    story = Story()
    by_call: dict[int, Batch] = {}
    if history.end is not None:
        for tp, read in history.end.reads.items():
            _see(story, tp, read.records, -1)
    for entry, event in history.each(
        ProduceSent, ProduceAcked, ProduceFailed, ProduceUnknown, FetchAnswered, ListAnswered
    ):
        match event:
            case ProduceSent():
                batch = by_call[entry.number] = Batch(sent=event, asked=entry.number)
                story.batches.append(batch)
                for value in event.values:
                    story.sends_of[value].append(batch)
            case ProduceAcked():
                batch = by_call[event.call]
                batch.answered, batch.outcome = entry.number, Outcome.ACKED
                batch.base_offset = event.base_offset
            case ProduceFailed() | ProduceUnknown():
                batch = by_call[event.call]
                batch.answered = entry.number
                batch.outcome = Outcome.FAILED if isinstance(event, ProduceFailed) else Outcome.UNKNOWN
            case FetchAnswered():
                asked = history.event(event.call)
                assert isinstance(asked, FetchAsked)
                story.reads.append(
                    Read(
                        tp=asked.tp,
                        position=asked.position,
                        leader_epoch=asked.leader_epoch,
                        asked=event.call,
                        answered=entry.number,
                        answer=event,
                    )
                )
                _see(story, asked.tp, event.records, entry.number)
            case ListAnswered():
                question = history.event(event.call)
                assert isinstance(question, ListAsked)
                story.listings.append(
                    Listing(asked=event.call, answered=entry.number, question=question, answer=event)
                )
    _tell_topics(history, story)
    return story


def _see(story: Story, tp: TopicPartition, records: tuple[SeenRecord, ...], entry: int) -> None:
    known = story.truth[tp]
    for record in records:
        if record.offset not in known:
            known[record.offset] = SeenAt(record=record, entry=entry)


def _tell_topics(history: History, story: Story) -> None:
    for entry, event in history.each(TopicCreated, TopicDeleteAsked, TopicDeleted):
        match event:
            case TopicCreated():
                if event.topic_id not in story.topics:
                    asked = entry.number if event.call < 0 else event.call
                    story.topics[event.topic_id] = TopicLife(name=event.topic, created=asked)
            case TopicDeleteAsked():
                life = story.topics.get(event.topic_id)
                if life is not None and life.delete_asked is None:
                    life.delete_asked = entry.number
            case TopicDeleted():
                question = history.event(event.call)
                assert isinstance(question, TopicDeleteAsked)
                life = story.topics.get(question.topic_id)
                if life is not None and life.deleted is None:
                    life.deleted = entry.number
