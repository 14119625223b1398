"""What is held back after a producer's batch was given up, and for how long."""

from services.gateway.routing.given_up import (
    PRODUCERS_MAX,
    REMEMBERED_SECONDS,
    GivenUp,
    ProducerSequence,
)


def at(base_sequence: int, epoch: int = 0) -> ProducerSequence:
    return ProducerSequence(epoch, base_sequence)


def after(base_sequence: int, epoch: int = 0) -> GivenUp:
    memory = GivenUp()
    memory.note(7, at(base_sequence, epoch), 0.0)
    return memory


def test_later_batches_wait_for_the_one_that_was_given_up() -> None:
    memory = after(4)
    assert memory.holds_back(7, at(5), 1.0)
    assert memory.holds_back(7, at(6), 1.0)
    assert not memory.holds_back(7, at(4), 1.0)
    assert not memory.holds_back(7, at(5), 1.0)
    assert not memory


def test_other_producers_and_those_without_an_id_are_not_held_back() -> None:
    memory = after(4)
    assert not memory.holds_back(8, at(5), 1.0)
    memory.note("connection", None, 0.0)
    assert not memory.holds_back("connection", None, 1.0)
    assert len(memory) == 1


def test_earlier_batches_pass_and_end_nothing() -> None:
    memory = after(4)
    assert not memory.holds_back(7, at(3), 1.0)
    assert memory.holds_back(7, at(5), 1.0)


def test_the_first_of_several_is_the_one_to_wait_for() -> None:
    memory = after(4)
    memory.note(7, at(6), 0.0)
    memory.note(7, at(2), 0.0)
    assert memory.holds_back(7, at(4), 1.0)
    assert not memory.holds_back(7, at(2), 1.0)


def test_sequences_wrap() -> None:
    memory = after((1 << 31) - 1)
    assert memory.holds_back(7, at(0), 1.0)
    memory.note(7, at(0), 1.0)
    assert not memory.holds_back(7, at((1 << 31) - 1), 1.0)


def test_a_newer_epoch_begins_anew_and_an_older_one_is_held_back() -> None:
    memory = after(4, epoch=3)
    assert memory.holds_back(7, at(4, epoch=2), 1.0)
    memory.note(7, at(0, epoch=2), 1.0)
    assert memory.holds_back(7, at(0, epoch=2), 1.0)
    assert not memory.holds_back(7, at(0, epoch=4), 1.0)
    assert not memory


def test_a_newer_epoch_that_is_given_up_replaces_the_older() -> None:
    memory = after(4)
    memory.note(7, at(0, epoch=1), 1.0)
    assert memory.holds_back(7, at(1, epoch=1), 1.0)
    assert memory.holds_back(7, at(4), 1.0)


def test_nothing_is_remembered_for_ever() -> None:
    memory = after(4)
    memory.note(8, at(4), 5.0)
    assert memory.holds_back(7, at(5), REMEMBERED_SECONDS - 0.1)
    assert not memory.holds_back(7, at(5), REMEMBERED_SECONDS)
    memory.expire(REMEMBERED_SECONDS + 4)
    assert len(memory) == 1
    memory.expire(REMEMBERED_SECONDS + 5)
    assert not memory


def test_the_longest_remembered_makes_room() -> None:
    memory = GivenUp()
    for producer in range(PRODUCERS_MAX):
        memory.note(producer, at(0), float(producer))
    memory.note(0, at(0), float(PRODUCERS_MAX))  # seen again: the last to go
    memory.note(-5, at(0), float(PRODUCERS_MAX))
    assert len(memory) == PRODUCERS_MAX
    assert not memory.holds_back(1, at(1), float(PRODUCERS_MAX - 1))
    assert memory.holds_back(0, at(1), float(PRODUCERS_MAX - 1))
