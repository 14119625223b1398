"""The judge of shares: owners differ by one partition, and who is drained has none."""

from dataclasses import replace

import pytest

from libs.model.cluster import Assignment, AssignmentState
from libs.model.ids import LeaderEpoch, OwnerId, Partition, TopicPartition
from tests.sim.checkers.shares import check
from tests.sim.history import History
from tests.unit.sim.checkers.telling import TOPIC, A, Telling


def ended(*owners: str, takers: tuple[str, ...]) -> History:
    """A partition for each of `owners`."""
    assignments = {
        TopicPartition(TOPIC, Partition(index)): Assignment(
            topic_id=TOPIC,
            partition=Partition(index),
            owner_id=OwnerId(owner),
            session=A,
            leader_epoch=LeaderEpoch(1),
            state=AssignmentState.ASSIGNED,
        )
        for index, owner in enumerate(owners)
    }
    history = Telling().end(assignments=assignments)
    assert history.end is not None
    history.end = replace(history.end, takers=frozenset(map(OwnerId, takers)))
    return history


@pytest.mark.parametrize(
    ("owners", "takers", "findings"),
    [
        (("a", "b", "a"), ("a", "b"), 0),
        (("a", "b", "a", "a"), ("a", "b"), 1),
        (("a", "a"), ("a", "b"), 1),
        (("a", "b"), ("a",), 1),
        (("a", "a", "a"), ("a",), 0),
    ],
    ids=["one more", "two more", "one has none", "one is drained", "alone"],
)
def test_owners_have_equal_shares(owners: tuple[str, ...], takers: tuple[str, ...], findings: int) -> None:
    assert len(check(ended(*owners, takers=takers))) == findings
