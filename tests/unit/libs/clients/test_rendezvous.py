"""The choice of a group's coordinator."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from libs.clients.rendezvous import coordinator_of
from libs.model.ids import GroupId, ReplicaId

REPLICAS = [ReplicaId(f"metadata-{index}") for index in range(4)]
NAMES = st.lists(st.text(min_size=1).map(ReplicaId), min_size=1, unique=True)


def test_nobody_coordinates_where_there_is_nobody() -> None:
    assert coordinator_of(GroupId("g"), []) is None


def test_the_choice_never_changes() -> None:
    """All processes of all versions have to agree."""
    chosen = [coordinator_of(GroupId(name), REPLICAS) for name in ("orders", "a/b", "ä", "")]
    assert chosen == ["metadata-1", "metadata-0", "metadata-1", "metadata-1"]


@given(group=st.text().map(GroupId), replicas=NAMES, data=st.data())
def test_only_groups_of_a_replica_that_left_move(
    group: GroupId, replicas: list[ReplicaId], data: st.DataObject
) -> None:
    chosen = coordinator_of(group, replicas)
    assert chosen in replicas
    assert coordinator_of(group, list(reversed(replicas))) == chosen, "whatever the order"
    gone = data.draw(st.sampled_from(replicas))
    left = [each for each in replicas if each != gone]
    if chosen != gone:
        assert coordinator_of(group, left) == chosen


def test_groups_are_spread() -> None:
    counts = Counter(coordinator_of(GroupId(f"group-{index}"), REPLICAS) for index in range(1000))
    assert min(counts[each] for each in REPLICAS) > 200
