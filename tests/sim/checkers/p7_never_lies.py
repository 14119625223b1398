"""Promise 7: trouble slows, it never lies.

"S3 errors are retried with backoff and jitter; buffers are bounded; a full buffer stops reading sockets. No
fallback to memory, ever. Start-up without a working store is a clear error and a non-zero exit."

Owns: the judgement of these sentences. Does not own: records that were acknowledged and are not stored
(promise 1); a start without an object store, which is probed before the simulated part begins
(tests/bad_input/test_start.py).
Clauses:
1 what a client was told is not stored, and never will be, is never read;
2 no process ends by itself with an error, whatever the store or metadata do, unless it never was ready and
says that its store did not answer;
3 no buffer holds more than its bound;
4 once everything is well again every partition takes a record and can be read, and every client comes to its
  end: the platform recovers by itself.
"""

from tests.sim.checkers.story import Outcome, Story, tell
from tests.sim.checkers.violation import Violation
from tests.sim.facts import BufferSeen, ProcessEnded, ProcessStarted
from tests.sim.history import History

NAME = "p7_never_lies"
_NO_STORE = "store did not answer within"
"""In the error of a start without a working store."""


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
    ready: set[str] = set()
    for entry, event in history.each(ProcessStarted, ProcessEnded, BufferSeen):
        match event:
            case ProcessStarted():
                ready.add(event.process)
                continue
            case ProcessEnded(killed=killed, error=error):
                was_ready = event.process in ready
                ready.discard(event.process)
                if killed or not error or (not was_ready and _NO_STORE in error):
                    continue
                what = f"{event.process} ended by itself: {error}"
            case BufferSeen(used=used, bound=bound) if used > bound:
                what = f"{event.buffer} of {event.process} holds {used}, its bound is {bound}"
            case _:
                continue
        found.append(Violation(checker=NAME, what=what, evidence=(entry.number,)))
    return found


def _not_recovered(history: History) -> list[Violation]:
    found = [f"{client} does not come to its end" for client in history.stuck]
    if history.healed is not None:
        found += [f"{tp} takes no record: {why}" for tp, why in history.healed.not_written.items()]
    for tp, read in history.last_reads():
        if read.error:
            found.append(f"{tp} can't be read: {read.error}")
    return [Violation(checker=NAME, what=f"{what}, although all is well") for what in found]
