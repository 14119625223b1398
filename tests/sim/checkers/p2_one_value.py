"""Promise 2: one value per offset.

"No two reads ever return different records at the same offset of the same topic id."

Owns: the judgement of that sentence. Does not own: whether it is the right record (promise 1).
Clauses: 1 no two reads differ, the final one included; 2 no two acknowledgements give one offset to
different records; 3 no object is replaced by other bytes: what was read from it would be read differently
(design section 3, rule 1).
"""

from libs.model.ids import TopicPartition
from tests.sim.checkers.story import Story, tell
from tests.sim.checkers.violation import Violation
from tests.sim.facts import ObjectDeleted, ObjectWritten
from tests.sim.history import History

NAME = "p2_one_value"


def check(history: History) -> list[Violation]:
    """What breaks the promise."""
    story = tell(history)
    return [*_read_twice(story), *_given_twice(story), *_replaced(history)]


def _read_twice(story: Story) -> list[Violation]:
    found = []
    for read in story.reads:
        for record in read.answer.records:
            first = story.truth[read.tp][record.offset]
            if first.record != record:
                found.append(
                    Violation(
                        checker=NAME,
                        what=(
                            f"offset {record.offset} of {read.tp} was read as {record.value}"
                            f" (epoch {record.leader_epoch}) and as {first.record.value}"
                            f" (epoch {first.record.leader_epoch})"
                        ),
                        evidence=(first.entry, read.answered),
                    )
                )
    return found


def _given_twice(story: Story) -> list[Violation]:
    given: dict[tuple[TopicPartition, int], tuple[str, int]] = {}
    found = []
    for batch in story.promises():
        assert batch.answered is not None
        for offset, value in batch.places():
            before, entry = given.setdefault((batch.sent.tp, offset), (value, batch.answered))
            if before != value:
                found.append(
                    Violation(
                        checker=NAME,
                        what=f"offset {offset} of {batch.sent.tp} was given to {before} and to {value}",
                        evidence=(entry, batch.answered),
                    )
                )
    return found


def _replaced(history: History) -> list[Violation]:
    there: dict[str, tuple[bytes, int]] = {}
    found = []
    for entry, event in history.each(ObjectWritten, ObjectDeleted):
        if isinstance(event, ObjectDeleted):
            there.pop(event.key, None)
            continue
        before, since = there.setdefault(event.key, (event.body, entry.number))
        if before != event.body:
            found.append(
                Violation(
                    checker=NAME,
                    what=f"{event.key} was replaced by other bytes",
                    evidence=(since, entry.number),
                )
            )
    return found
