"""Promise 7: trouble slows, it never lies.

"S3 errors are retried with backoff and jitter; buffers are bounded; a full buffer stops reading sockets. No
fallback to memory, ever. Start-up without a working store is a clear error and a non-zero exit."

Owns: the judgement of these sentences. Does not own: records that were acknowledged and are not stored
(promise 1).
Clauses:
1 what a client was told is not stored, and never will be, is never read;
2 no process ends by itself with an error, whatever the store or metadata do;
3 a process that becomes ready had a working store;
4 no buffer holds more than its bound;
5 once everything is well again every partition can be read: the platform recovers by itself.
"""

from tests.sim.checkers.story import Outcome, Story, tell
from tests.sim.checkers.violation import Violation
from tests.sim.facts import BufferSeen, ProcessEnded, ProcessStarted
from tests.sim.history import History

NAME = "p7_never_lies"


def check(history: History) -> list[Violation]:
    """What breaks the promise."""
    story = tell(history)
    return [*_refused_and_stored(story), *_processes(history), *_not_recovered(history)]


def _refused_and_stored(story: Story) -> list[Violation]:
    found = []
    for tp, known in story.truth.items():
        for offset, seen in known.items():
            sends = [each for each in story.sends_of.get(seen.record.value, ()) if each.sent.tp == tp]
            if sends and all(each.outcome is Outcome.FAILED for each in sends):
                answered = [each.answered for each in sends if each.answered is not None]
                found.append(
                    Violation(
                        checker=NAME,
                        what=f"{seen.record.value} was refused for good, and is at {offset} of {tp}",
                        evidence=(*answered, seen.entry),
                    )
                )
    return found


def _processes(history: History) -> list[Violation]:
    found = []
    for entry, event in history.each(ProcessStarted, ProcessEnded, BufferSeen):
        match event:
            case ProcessEnded(killed=False, error=error) if error:
                what = f"{event.process} ended by itself: {error}"
            case ProcessStarted(store_works=False):
                what = f"{event.process} became ready without a working store"
            case BufferSeen(used=used, bound=bound) if used > bound:
                what = f"{event.buffer} of {event.process} holds {used}, its bound is {bound}"
            case _:
                continue
        found.append(Violation(checker=NAME, what=what, evidence=(entry.number,)))
    return found


def _not_recovered(history: History) -> list[Violation]:
    return [
        Violation(checker=NAME, what=f"{tp} can't be read although all is well: {read.error}")
        for tp, read in ({} if history.end is None else history.end.reads).items()
        if read.error
    ]
