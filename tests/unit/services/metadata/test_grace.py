"""Who is waited for, and how long."""

from hypothesis import given
from hypothesis import strategies as st

from libs.model.ids import OwnerId
from services.metadata.grace import Grace

THREE = [OwnerId("a"), OwnerId("b"), OwnerId("c")]


def grace(*, exclusive: bool = False) -> Grace:
    return Grace(lease_seconds=6, exclusive_store=exclusive)


def test_right_after_a_start_everyone_may_come_back() -> None:
    waiting = grace()
    waiting.begin(lease_held_since=100, present=[])
    assert waiting.lasts(105.9)
    assert not waiting.lasts(106)


def test_a_replica_that_was_there_waits_for_nobody() -> None:
    waiting = grace()
    waiting.begin(lease_held_since=10, present=THREE)
    assert not waiting.lasts(100)
    waiting.observe(100, THREE[:2], leaving=[])
    assert not waiting.lasts(100)


def test_many_lost_at_once_are_waited_for_from_the_last_one_on() -> None:
    waiting = grace()
    waiting.begin(lease_held_since=0, present=THREE)
    waiting.observe(100, THREE[:2], leaving=[])
    assert not waiting.lasts(100)
    waiting.observe(101, THREE[:1], leaving=[])
    assert waiting.lasts(106.9)
    waiting.observe(103, [], leaving=[])
    assert waiting.lasts(108.9)
    assert not waiting.lasts(109)


def test_one_by_one_is_not_at_once() -> None:
    waiting = grace()
    waiting.begin(lease_held_since=0, present=THREE)
    waiting.observe(100, THREE[:2], leaving=[])
    waiting.observe(106, THREE[:1], leaving=[])
    assert not waiting.lasts(106)


def test_one_of_two_is_not_many() -> None:
    waiting = grace()
    waiting.begin(lease_held_since=0, present=THREE[:2])
    waiting.observe(100, THREE[:1], leaving=[])
    assert not waiting.lasts(100)


def test_those_who_left_in_order_are_not_missed() -> None:
    waiting = grace()
    waiting.begin(lease_held_since=0, present=THREE)
    waiting.observe(100, [], leaving=THREE)
    assert not waiting.lasts(100)


def test_those_who_came_back_do_not_count() -> None:
    waiting = grace()
    waiting.begin(lease_held_since=0, present=THREE)
    waiting.observe(100, THREE[:2], leaving=[])
    waiting.observe(101, THREE, leaving=[])
    waiting.observe(102, THREE[1:], leaving=[])
    assert not waiting.lasts(102)


@given(st.lists(st.lists(st.sampled_from(THREE), unique=True), max_size=8))
def test_an_exclusive_store_never_waits(seen: list[list[OwnerId]]) -> None:
    waiting = grace(exclusive=True)
    waiting.begin(lease_held_since=0, present=THREE)
    for now, present in enumerate(seen):
        waiting.observe(float(now), present, leaving=[])
        assert not waiting.lasts(float(now))
