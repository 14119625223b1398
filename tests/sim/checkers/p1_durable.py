"""Promise 1: acknowledged means durable.

"Every record acknowledged with acks=1 or acks=all is in an object that survives the loss of every process,
and is returned by every later fetch at its offset until retention or DeleteRecords removes it."

Owns: the judgement of that sentence. Does not own: other promises.
Clauses:
1 when the acknowledgement comes, the record is in a stored object at the acknowledged offset, with everything
  before it in that chain (design section 3, rule 4);
2 and whoever opens the partition then would find it: the committed state names that place (rule 10);
3 a fetch that was asked later and passes the offset returns it;
4 so do the reads when all faults are over and at the end of the run, up to the high watermark;
5 it is gone only by DeleteRecords or by retention that was configured: nothing else moves the log start.
"""

from collections import defaultdict

from libs.model.ids import TopicPartition
from tests.sim.checkers.removal import Removals
from tests.sim.checkers.stored import Stored, stored
from tests.sim.checkers.story import Batch, Read, Story, tell
from tests.sim.checkers.violation import Violation
from tests.sim.events import DeleteRecordsAcked, DeleteRecordsAsked
from tests.sim.facts import StateCommitted
from tests.sim.history import FinalRead, History

NAME = "p1_durable"


def check(history: History) -> list[Violation]:
    """What breaks the promise."""
    story, kept = tell(history), stored(history)
    return [
        *(_not_stored(story, kept) if kept.anything else ()),
        *_not_returned(story),
        *_not_left(history, story),
        *_removed(history, story),
    ]


def _not_stored(story: Story, kept: Stored) -> list[Violation]:
    found = []
    for batch in story.promises():
        assert batch.answered is not None
        for index, value in enumerate(batch.sent.values):
            what = _why_not_stored(kept, batch, batch.answered, index, value)
            if what:
                found.append(Violation(checker=NAME, what=what, evidence=(batch.asked, batch.answered)))
                break
    return found


def _why_not_stored(kept: Stored, batch: Batch, entry: int, index: int, value: str) -> str:
    tp, offset = batch.sent.tp, batch.base_offset + index
    at = "somewhere" if batch.base_offset < 0 else f"at {offset}"
    places = [
        each
        for each in kept.places.get(value, ())
        if each.tp == tp and (batch.base_offset < 0 or each.offset == offset)
    ]
    durable = [each for each in places if kept.is_durable(each, entry)]
    if not durable:
        there = f" (it is in {[(str(each.session), each.seq) for each in places]})" if places else ""
        return f"{value} of {tp} was acknowledged {at} before an object made it durable{there}"
    if kept.states and not any(kept.is_named(each, entry) for each in durable):
        where = [(str(each.session), each.leader_epoch, each.seq) for each in durable]
        return f"{value} of {tp} was acknowledged {at}, and the committed state names none of {where}"
    return ""


def _not_returned(story: Story) -> list[Violation]:
    promised: defaultdict[TopicPartition, list[tuple[int, int, str]]] = defaultdict(list)
    for batch in story.promises():
        assert batch.answered is not None
        for offset, value in batch.places():
            promised[batch.sent.tp].append((offset, batch.answered, value))
    for places in promised.values():
        places.sort()
    found = []
    for read in story.reads:
        if not read.answer.records:
            continue
        found += _lacks(read, promised.get(read.tp, []))
    return found


def _lacks(read: Read, promised: list[tuple[int, int, str]]) -> list[Violation]:
    returned = {record.offset: record.value for record in read.answer.records}
    last = read.answer.records[-1].offset
    found = []
    for offset, acked, value in promised:
        if offset > last:
            break
        if offset >= read.position and acked < read.asked and returned.get(offset) != value:
            there = returned.get(offset, "nothing")
            found.append(
                Violation(
                    checker=NAME,
                    what=f"{value} was acknowledged at {offset} of {read.tp}; a later fetch returned {there}",
                    evidence=(acked, read.asked, read.answered),
                )
            )
    return found


def _not_left(history: History, story: Story) -> list[Violation]:
    promised: defaultdict[TopicPartition, list[Batch]] = defaultdict(list)
    for batch in story.promises():
        promised[batch.sent.tp].append(batch)
    found = []
    for tp, read in history.last_reads():
        if read.error:  # a partition that can't be read is promise 7's
            continue
        at = {record.offset: record.value for record in read.records}
        values = set(at.values())
        for batch in promised[tp]:
            for offset, value in batch.places():
                if offset >= read.log_start and at.get(offset) != value:
                    found.append(_lost(batch, read, offset, value, at.get(offset, "nothing")))
            if batch.base_offset < 0 and read.log_start == 0 and not set(batch.sent.values) <= values:
                found.append(_lost(batch, read, -1, batch.sent.values[0], "nothing"))
    return found


def _lost(batch: Batch, read: FinalRead, offset: int, value: str, there: str) -> Violation:
    assert batch.answered is not None
    return Violation(
        checker=NAME,
        what=(
            f"{value} was acknowledged at {offset} of {batch.sent.tp}; at the end {there} is there"
            f" (the log is {read.log_start}..{read.high_watermark})"
        ),
        evidence=(batch.asked, batch.answered),
    )


def _removed(history: History, story: Story) -> list[Violation]:
    """Clause 5: each log start that anybody saw, or that was committed: then it is as good as gone."""
    removals = Removals(history, story)
    seen: list[tuple[int, TopicPartition, int]] = [
        (read.answered, read.tp, read.answer.log_start) for read in story.reads if not read.answer.error
    ]
    for entry, event in history.each(DeleteRecordsAcked):
        asked = history.event(event.call)
        assert isinstance(asked, DeleteRecordsAsked)
        seen.append((entry.number, asked.tp, event.log_start))
    for entry, event in history.each(StateCommitted):
        if event.state is not None:
            seen.append((entry.number, event.tp, event.state.log_start_offset))
    if history.end is not None:
        seen += [
            (len(history), tp, read.log_start) for tp, read in history.end.reads.items() if not read.error
        ]
    found = []
    judged: dict[TopicPartition, int] = {}
    for entry_number, tp, log_start in sorted(seen, key=lambda each: each[0]):
        if log_start <= judged.get(tp, 0):
            continue
        judged[tp] = log_start
        why = removals.why_not(tp, log_start, entry_number)
        if why:
            found.append(Violation(checker=NAME, what=why, evidence=(entry_number,)))
    return found
