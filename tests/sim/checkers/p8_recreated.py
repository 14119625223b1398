"""Promise 8: a topic recreated is a new topic.

"Every key, reference and cache is keyed by topic id, never by name."

Owns: the judgement of that sentence. Does not own: other promises of one topic id.
Clauses:
1 a record is read in one topic id only, and there only if its batch could have met that topic: it names the
  id, or the topic of that name was created before the batch's outcome was known;
2 offsets of a group are by topic id: what was committed for one id is never answered for another;
3 a new topic begins empty: its first high watermark is no higher than what was sent to it since;
4 a topic's folder holds records of that topic only, and no state names another topic's manifest;
5 an id is given to one topic: what is created after a topic was deleted does not get that one's.
"""

from bisect import bisect_left
from collections import defaultdict

from libs.model.ids import TopicId, TopicPartition
from libs.segments.keys import parse_manifest_key
from tests.sim.checkers.stored import stored
from tests.sim.checkers.story import Batch, Story, tell
from tests.sim.checkers.violation import Violation
from tests.sim.events import CommitAsked, OffsetsAsked, OffsetsFetched, TopicCreated, TopicDeleted
from tests.sim.facts import StateCommitted
from tests.sim.history import History

NAME = "p8_recreated"


def check(history: History) -> list[Violation]:
    """What breaks the promise."""
    story = tell(history)
    return [
        *_in_two_topics(history, story),
        *_from_another_topic(history, story),
        *_offsets_of_another(history, story),
        *_not_empty(story),
        *_stored_elsewhere(history),
        *_given_again(history),
    ]


def _all_seen(history: History, story: Story) -> dict[tuple[TopicPartition, str], tuple[int, int]]:
    """Every value that was read in a partition: the offset and the entry (-1: the final read) of one read."""
    seen: dict[tuple[TopicPartition, str], tuple[int, int]] = {}
    for read in story.reads:
        for record in read.answer.records:
            seen.setdefault((read.tp, record.value), (record.offset, read.answered))
    for tp, final in ({} if history.end is None else history.end.reads).items():
        for record in final.records:
            seen.setdefault((tp, record.value), (record.offset, -1))
    return seen


def _in_two_topics(history: History, story: Story) -> list[Violation]:
    homes: dict[str, tuple[TopicId, int]] = {}
    found = []
    for (tp, value), (_, entry) in _all_seen(history, story).items():
        home, before = homes.setdefault(value, (tp.topic_id, entry))
        if home != tp.topic_id and not _sent_to_both(story, value):
            found.append(
                Violation(
                    checker=NAME,
                    what=f"{value} was read in topic {home} and in topic {tp.topic_id}",
                    evidence=(before, entry),
                )
            )
    return found


def _sent_to_both(story: Story, value: str) -> bool:
    """A retry may meet the new topic when the first attempt met the old one."""
    return len(story.sends_of.get(value, ())) > 1


def _from_another_topic(history: History, story: Story) -> list[Violation]:
    found = []
    for (tp, value), (offset, entry) in _all_seen(history, story).items():
        sends = story.sends_of.get(value, [])
        if sends and not any(_may_meet(story, each, tp) for each in sends):
            found.append(
                Violation(
                    checker=NAME,
                    what=f"{value}, sent to topic {sends[0].sent.tp.topic_id}, is at {offset} of {tp}",
                    evidence=(sends[0].asked, entry),
                )
            )
    return found


def _may_meet(story: Story, batch: Batch, tp: TopicPartition) -> bool:
    if batch.sent.tp == tp:
        return True
    if batch.sent.tp.partition != tp.partition:
        return False
    life = story.topics.get(tp.topic_id)
    if life is None or life.name != batch.sent.topic:
        return False
    return batch.answered is None or life.created < batch.answered


def _offsets_of_another(history: History, story: Story) -> list[Violation]:
    committed: dict[tuple[str, TopicPartition], set[int]] = {}
    found = []
    for entry, event in history.each(CommitAsked, OffsetsFetched):
        if isinstance(event, CommitAsked):
            for tp, offset in event.offsets.items():
                committed.setdefault((event.group, tp), set()).add(offset)
            continue
        asked = history.event(event.call)
        assert isinstance(asked, OffsetsAsked)
        for tp, offset in event.offsets.items():
            if offset < 0 or offset in committed.get((asked.group, tp), set()):
                continue
            other = next(
                (
                    known.topic_id
                    for (group, known), offsets in committed.items()
                    if group == asked.group
                    and known != tp
                    and offset in offsets
                    and _same_name(story, known, tp)
                ),
                None,
            )
            if other is not None:
                found.append(
                    Violation(
                        checker=NAME,
                        what=f"{asked.group} has offset {offset} of topic {other} for {tp}",
                        evidence=(event.call, entry.number),
                    )
                )
    return found


def _same_name(story: Story, one: TopicPartition, other: TopicPartition) -> bool:
    lives = (story.topics.get(one.topic_id), story.topics.get(other.topic_id))
    return (
        one.partition == other.partition
        and lives[0] is not None
        and lives[1] is not None
        and lives[0].name == lives[1].name
    )


def _not_empty(story: Story) -> list[Violation]:
    """Clause 3, for topics whose creation the history has seen."""
    asked: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    over: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for batch in story.batches:
        place = (batch.sent.topic, batch.sent.tp.partition)
        asked[place] += [batch.asked] * len(batch.sent.values)
        if batch.answered is not None:
            over[place] += [batch.answered] * len(batch.sent.values)
    for entries in over.values():
        entries.sort()
    found = []
    for read in story.reads:
        life = story.topics.get(read.tp.topic_id)
        if life is None or read.answer.error:
            continue
        place = (life.name, read.tp.partition)
        sent = bisect_left(asked[place], read.answered) - bisect_left(over[place], life.created)
        if read.answer.high_watermark > sent:
            found.append(
                Violation(
                    checker=NAME,
                    what=(
                        f"{read.tp} has a high watermark of {read.answer.high_watermark},"
                        f" and {sent} records were sent since it was created"
                    ),
                    evidence=(life.created, read.answered),
                )
            )
    return found


def _stored_elsewhere(history: History) -> list[Violation]:
    found = []
    for entry, event in history.each(StateCommitted):
        key = "" if event.state is None else event.state.manifest_key
        parsed = parse_manifest_key(key) if key else None
        if parsed is not None and (parsed[0].topic_id, parsed[0].partition) != event.tp:
            found.append(
                Violation(checker=NAME, what=f"the state of {event.tp} names {key}", evidence=(entry.number,))
            )
    for key, manifest in stored(history).manifests.items():
        named = parse_manifest_key(key)
        if named is not None and (named[0].topic_id, named[0].partition) != manifest.tp:
            found.append(Violation(checker=NAME, what=f"{key} holds {manifest.tp}"))
    return found


def _given_again(history: History) -> list[Violation]:
    """Clause 5, for creations that were asked for after the deletion was answered."""
    deleted: dict[TopicId, int] = {}
    found = []
    for entry, event in history.each(TopicDeleted, TopicCreated):
        if isinstance(event, TopicDeleted):
            deleted.setdefault(history.event(event.call).topic_id, entry.number)
        elif deleted.get(event.topic_id, event.call) < event.call:
            found.append(
                Violation(
                    checker=NAME,
                    what=f"topic {event.topic!r} has the id of a deleted one: {event.topic_id}",
                    evidence=(deleted[event.topic_id], entry.number),
                )
            )
    return found
