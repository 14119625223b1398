"""Promise 5: safety never rests on clocks or leases.

"They decide only *when* a takeover is tried. An owner that is paused for an hour and wakes up can hurt
nobody."

Owns: the judgement of that sentence. Does not own: what clients lost by it (promises 1 to 4).
Clauses:
1 along the offsets of a partition leader epochs never go back: nobody wrote behind its successor;
2 a record that lies only at or beyond the end of its chain was acknowledged to nobody: a late PUT is void;
3 the seal that ends a chain is never deleted: it is what such an owner has to meet (design section 3, rule
  9);
4 an epoch of a partition belongs to one session for ever, and epochs only rise;
5 chains have one end: no position that closes a chain lies beyond it; what was handed over closes before it.
"""

from itertools import pairwise

from libs.model.ids import SessionId, TopicPartition
from libs.segments.keys import parse_chain_object_key
from tests.sim.checkers.stored import Stored, stored
from tests.sim.checkers.story import Story, tell
from tests.sim.checkers.violation import Violation
from tests.sim.events import NO_EPOCH
from tests.sim.facts import AssignmentCommitted, ObjectDeleted, StateCommitted
from tests.sim.history import History

NAME = "p5_clocks"


def check(history: History) -> list[Violation]:
    """What breaks the promise."""
    story, kept = tell(history), stored(history)
    return [
        *_epochs_go_back(story),
        *_void_was_acknowledged(story, kept),
        *_seals_deleted(history, kept),
        *_epochs_shared(history),
        *_two_ends(history, kept),
    ]


def _epochs_go_back(story: Story) -> list[Violation]:
    found = []
    for tp, known in story.truth.items():
        records = [known[offset] for offset in sorted(known)]
        for before, after in pairwise(records):
            if NO_EPOCH < after.record.leader_epoch < before.record.leader_epoch:
                found.append(
                    Violation(
                        checker=NAME,
                        what=(
                            f"{tp} has epoch {before.record.leader_epoch} at {before.record.offset}"
                            f" and epoch {after.record.leader_epoch} at {after.record.offset}"
                        ),
                        evidence=(before.entry, after.entry),
                    )
                )
    return found


def _void_was_acknowledged(story: Story, kept: Stored) -> list[Violation]:
    ends = {session: chain.end() for session, chain in kept.chains.items()}
    found = []
    for batch in story.promises():
        assert batch.answered is not None
        for value in batch.sent.values:
            places = [each for each in kept.places.get(value, ()) if each.tp == batch.sent.tp]
            void = [each for each in places if _is_void(ends.get(each.session), each.seq)]
            if places and len(void) == len(places):
                place = void[0]
                found.append(
                    Violation(
                        checker=NAME,
                        what=(
                            f"{value} was acknowledged, and is in {place.seq} of session {place.session},"
                            f" which was sealed at {ends[place.session]}"
                        ),
                        evidence=(batch.asked, batch.answered),
                    )
                )
                break
    return found


def _is_void(end: int | None, seq: int) -> bool:
    return end is not None and seq >= end


def _seals_deleted(history: History, kept: Stored) -> list[Violation]:
    ends = {session: chain.end() for session, chain in kept.chains.items()}
    found = []
    for entry, event in history.each(ObjectDeleted):
        at = parse_chain_object_key(event.key)
        if at is not None and ends.get(at.session) == at.seq:
            written = kept.chains[at.session].written[at.seq]
            if written < entry.number:
                found.append(
                    Violation(
                        checker=NAME,
                        what=f"{event.key}, the seal that ends its chain, was deleted by {event.by or '?'}",
                        evidence=(written, entry.number),
                    )
                )
    return found


def _epochs_shared(history: History) -> list[Violation]:
    holders: dict[tuple[TopicPartition, int], tuple[SessionId, int]] = {}
    latest: dict[TopicPartition, tuple[int, int]] = {}
    found = []
    for entry, event in history.each(AssignmentCommitted):
        assignment = event.assignment
        if assignment is None:
            continue
        epoch = assignment.leader_epoch
        session, since = holders.setdefault((event.tp, epoch), (assignment.session, entry.number))
        if session != assignment.session:
            found.append(
                Violation(
                    checker=NAME,
                    what=f"epoch {epoch} of {event.tp} belongs to {session} and to {assignment.session}",
                    evidence=(since, entry.number),
                )
            )
        before, known_at = latest.get(event.tp, (epoch, entry.number))
        if epoch < before:
            found.append(
                Violation(
                    checker=NAME,
                    what=f"{event.tp} went from epoch {before} back to {epoch}",
                    evidence=(known_at, entry.number),
                )
            )
        latest[event.tp] = (max(before, epoch), entry.number)
    return found


def _two_ends(history: History, kept: Stored) -> list[Violation]:
    ends = {session: chain.end() for session, chain in kept.chains.items()}
    found = []
    judged: set[tuple[SessionId, int]] = set()
    for entry, event in history.each(StateCommitted):
        for position in () if event.state is None else event.state.positions:
            end = ends.get(position.session)
            if position.to_seq is None or end is None or (position.session, position.to_seq) in judged:
                continue
            judged.add((position.session, position.to_seq))
            if position.to_seq > max(end, position.from_seq):
                found.append(
                    Violation(
                        checker=NAME,
                        what=(
                            f"{event.tp} was closed at {position.to_seq} of session {position.session},"
                            f" whose chain ends at {end}"
                        ),
                        evidence=(entry.number,),
                    )
                )
    return found
