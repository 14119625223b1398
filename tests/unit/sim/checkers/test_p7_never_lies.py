"""Promise 7: histories that keep it, and histories that don't."""

from tests.sim.checkers.p7_never_lies import check
from tests.sim.events import ProduceFailed, ProduceUnknown
from tests.sim.facts import BufferSeen, ProcessEnded, ProcessStarted
from tests.unit.sim.checkers.telling import Telling


def test_trouble_that_slows() -> None:
    telling = Telling()
    telling.add(ProcessStarted(process="o"))
    telling.add(ProduceUnknown(call=telling.sent("a"), error="REQUEST_TIMED_OUT"))
    telling.add(ProduceFailed(call=telling.sent("b"), error="MESSAGE_TOO_LARGE"))
    telling.add(BufferSeen(process="o", buffer="unflushed", used=10, bound=10))
    telling.add(ProcessEnded(process="o", killed=True))
    telling.add(ProcessEnded(process="p", killed=False))
    assert check(telling.end("a")) == []


def test_what_was_refused_for_good_is_read() -> None:
    telling = Telling()
    telling.add(ProduceFailed(call=telling.sent("a"), error="NOT_ENOUGH_REPLICAS"))
    assert len(check(telling.end("a"))) == 1


def test_what_was_refused_once_and_sent_again_may_be_read() -> None:
    telling = Telling()
    telling.add(ProduceFailed(call=telling.sent("a"), error="NOT_ENOUGH_REPLICAS"))
    telling.sent("a")
    assert check(telling.end("a")) == []


def test_a_process_dies_of_trouble() -> None:
    telling = Telling()
    telling.add(ProcessEnded(process="o", killed=False, error="KeyError"))
    assert len(check(telling.end())) == 1


def test_a_start_without_a_store_ends_and_says_so() -> None:
    error = "Unavailable: the metadata store did not answer within 20 seconds"
    telling = Telling()
    telling.add(ProcessEnded(process="m", killed=False, error=error))
    assert check(telling.end()) == []
    telling.add(ProcessStarted(process="m"))
    telling.add(ProcessEnded(process="m", killed=False, error=error))
    assert len(check(telling.end())) == 1


def test_a_buffer_is_over_its_bound() -> None:
    telling = Telling()
    telling.add(BufferSeen(process="o", buffer="unflushed", used=11, bound=10))
    assert len(check(telling.end())) == 1


def test_a_partition_does_not_recover() -> None:
    assert len(check(Telling().end(error="NOT_LEADER_OR_FOLLOWER"))) == 1
