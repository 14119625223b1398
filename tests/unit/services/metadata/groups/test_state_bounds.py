"""How large a group may get, and who may commit offsets to it."""

import pytest

from libs.clients.group_types import GroupPhase, GroupProtocol
from libs.model.errors import Fenced, KafscaleError, Reason
from services.metadata.groups.config import GroupsConfig
from tests.unit.services.metadata.groups.support import HandDriven, commit_of


def reason_of(error: pytest.ExceptionInfo[KafscaleError]) -> Reason:
    return error.value.reason


def test_a_full_group_takes_nobody() -> None:
    group = HandDriven(GroupsConfig(initial_rebalance_delay_ms=0, members_max=2))
    leader, _ = group.stable()
    assert group.refused(group.join()) == "GROUP_MAX_SIZE_REACHED"
    assert group.refused(group.join(require_known_member_id=True)) == "GROUP_MAX_SIZE_REACHED"
    assert group.state.phase is GroupPhase.STABLE
    group.heartbeat(leader, 1)


def test_ids_given_out_are_bounded() -> None:
    group = HandDriven(GroupsConfig(initial_rebalance_delay_ms=0, members_max=2))
    told = [group.joined(group.join(require_known_member_id=True)) for _ in range(2)]
    assert group.refused(group.join(require_known_member_id=True)) == "GROUP_MAX_SIZE_REACHED"
    joining = group.join(member_id=told[0].member_id)
    group.pass_time(10)
    assert group.joined(joining).generation == 1


def test_the_metadata_of_all_members_is_bounded() -> None:
    group = HandDriven(GroupsConfig(initial_rebalance_delay_ms=0, metadata_bytes_max=100))
    big = (GroupProtocol(name="range", metadata=b"x" * 60),)
    leader, *_ = group.stable(1, protocols=big)
    assert group.refused(group.join(protocols=big)) == "GROUP_MAX_SIZE_REACHED"
    assert group.joined(group.join(member_id=leader, protocols=big)).generation == 2, (
        "its own does not count twice"
    )


def test_offsets_may_be_committed_by() -> None:
    group = HandDriven()
    group.state.check_commit(commit_of(0), group.now)  # a consumer that assigns itself, to an empty group
    leader, follower = group.stable()
    group.state.check_commit(commit_of(0, member_id=leader, generation=1), group.now)
    group.join(member_id=leader)
    group.state.check_commit(commit_of(0, member_id=follower, generation=1), group.now)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.UNKNOWN_MEMBER_ID),
        ({"member_id": "nobody", "generation": 1}, Reason.UNKNOWN_MEMBER_ID),
        ({"member_id": "app-1", "generation": 0}, Reason.ILLEGAL_GENERATION),
        ({"member_id": "app-1", "generation": -1}, Reason.ILLEGAL_GENERATION),
        ({"member_id": "app-1", "generation": 1, "group_instance_id": "x"}, Reason.UNKNOWN_MEMBER_ID),
    ],
)
def test_commits_to_a_group_with_members_are_refused_to(changes: dict[str, object], reason: Reason) -> None:
    group = HandDriven()
    group.stable()
    with pytest.raises(KafscaleError) as refused:
        group.state.check_commit(commit_of(0, **changes), group.now)  # type: ignore[arg-type]
    assert reason_of(refused) is reason


def test_commits_wait_for_the_assignment() -> None:
    group = HandDriven()
    ticket = group.join()
    group.pass_time(0)
    leader = group.joined(ticket).member_id
    with pytest.raises(Fenced) as refused:
        group.state.check_commit(commit_of(0, member_id=leader, generation=1), group.now)
    assert reason_of(refused) is Reason.REBALANCE_IN_PROGRESS


def test_a_commit_counts_as_a_heartbeat() -> None:
    group = HandDriven()
    (leader,) = group.stable(1)
    for _ in range(4):
        group.pass_time(9)
        group.state.check_commit(commit_of(0, member_id=leader, generation=1), group.now)
    group.heartbeat(leader, 1)
