"""Groups, clause by clause: histories that keep the rules, and histories that don't."""

from tests.sim.checkers.groups import check
from tests.sim.events import CommitAcked, CommitFailed
from tests.unit.sim.checkers.telling import GROUP, TP, Telling


def test_a_group_at_work() -> None:
    telling = Telling()
    telling.offset_fetched(-1)
    telling.assigned("m", 1, 0, 1, given=(0, 1))
    telling.committed(5)
    telling.offset_fetched(5)
    telling.assigned("m", 2, 0, given=(0,))
    telling.assigned("n", 2, 1, given=(1,))
    telling.committed(7, generation=2)
    telling.offset_fetched(7)
    assert check(telling.end(committed={(GROUP, TP): 7})) == []


def test_two_members_hold_one_partition() -> None:
    telling = Telling()
    telling.assigned("m", 1, 0, 1)
    telling.assigned("n", 1, 1)
    assert len(check(telling.history)) == 1


def test_the_leaders_assignment_is_replaced() -> None:
    telling = Telling()
    telling.assigned("m", 1, 1, given=(0,))
    assert len(check(telling.history)) == 1


def test_a_committed_offset_goes_back() -> None:
    telling = Telling()
    telling.committed(5)
    telling.committed(7)
    telling.offset_fetched(5)
    assert len(check(telling.history)) == 1


def test_a_committed_offset_goes_back_by_the_end() -> None:
    telling = Telling()
    telling.committed(5)
    telling.committed(7)
    assert len(check(telling.end(committed={(GROUP, TP): 5}))) == 1


def test_going_back_when_asked_is_right() -> None:
    telling = Telling()
    telling.committed(7)
    telling.committed(3)
    telling.offset_fetched(3)
    assert check(telling.history) == []


def test_a_missing_commit_is_answered_as_0() -> None:
    telling = Telling()
    telling.offset_fetched(0)
    (violation,) = check(telling.history)
    assert "nobody committed" in violation.what


def test_a_commit_is_forgotten() -> None:
    telling = Telling()
    telling.committed(7)
    telling.offset_fetched(-1)
    assert len(check(telling.history)) == 1


def test_a_commit_without_an_answer_may_hold_or_not() -> None:
    telling = Telling()
    telling.committed(5)
    telling.commit(7)
    telling.offset_fetched(5)
    telling.offset_fetched(7)
    assert check(telling.history) == []


def test_a_refused_commit_holds() -> None:
    telling = Telling()
    telling.committed(5)
    telling.add(CommitFailed(call=telling.commit(7), error="ILLEGAL_GENERATION"))
    telling.offset_fetched(7)
    assert len(check(telling.history)) == 1


def test_commits_on_their_way_together_may_hold_either_way() -> None:
    telling = Telling()
    first, second = telling.commit(5), telling.commit(7)
    telling.add(CommitAcked(call=second))
    telling.add(CommitAcked(call=first))
    telling.offset_fetched(5)
    assert check(telling.history) == []


def test_a_commit_without_an_answer_ends_with_its_generation() -> None:
    """Its coordinator lost the group before a newer generation committed: that is void."""
    telling = Telling()
    telling.commit(5)
    telling.committed(7, generation=2)
    assert check(telling.history) == []
    telling.offset_fetched(5)
    (violation,) = check(telling.history)
    assert "after 7 had been committed" in violation.what


def test_a_commit_outside_of_generations_may_hold_at_any_time() -> None:
    telling = Telling()
    telling.commit(5, generation=-1)
    telling.committed(7, generation=2)
    telling.offset_fetched(5)
    assert check(telling.history) == []


def test_a_member_of_an_older_generation_commits() -> None:
    telling = Telling()
    telling.assigned("m", 1, 0)
    telling.assigned("n", 2, 0)
    telling.committed(5, generation=1)
    assert len(check(telling.history)) == 1


def test_a_deleted_topics_offsets_may_be_gone() -> None:
    telling = Telling()
    telling.created()
    telling.committed(5)
    telling.deleted()
    telling.offset_fetched(-1)
    assert check(telling.history) == []
