"""Stories of static members (KIP-345, KIP-814)."""

import pytest

from libs.clients.group_types import GroupPhase, GroupProtocol, LeavingMember
from libs.model.errors import Fenced, NotFound, Reason
from libs.model.ids import MemberId
from tests.unit.services.metadata.groups.support import RANGE, HandDriven

ROUND_ROBIN = GroupProtocol(name="roundrobin", metadata=b"rr")
BOTH = (*RANGE, ROUND_ROBIN)


def static_group(protocols: tuple[GroupProtocol, ...] = RANGE) -> tuple[HandDriven, MemberId, MemberId]:
    """A stable group of the instances "one", which leads, and "two"."""
    group = HandDriven()
    tickets = [group.join(group_instance_id=each, protocols=protocols) for each in ("one", "two")]
    group.pass_time(0)
    one, two = (group.joined(ticket).member_id for ticket in tickets)
    group.sync(two, 1, group_instance_id="two")
    group.sync(one, 1, {one: b"for-one", two: b"for-two"}, group_instance_id="one")
    return group, one, two


def test_a_static_member_needs_no_second_join() -> None:
    group = HandDriven()
    joining = group.join(group_instance_id="one", require_known_member_id=True)
    group.pass_time(0)
    assert group.joined(joining).generation == 1
    assert group.joined(joining).members[0].group_instance_id == "one"


def test_a_follower_that_restarts_gets_its_assignment_back_without_a_rebalance() -> None:
    group, one, two = static_group()
    group.auto_persist = False
    joining = group.join(group_instance_id="two")
    assert joining not in group.replies, "the new member id is stored first"
    group.persist()
    reply = group.joined(joining)
    assert group.state.phase is GroupPhase.STABLE
    assert (reply.generation, reply.leader, reply.skip_assignment, reply.members) == (1, one, False, ())
    assert reply.member_id != two
    assert group.synced(group.sync(reply.member_id, 1, group_instance_id="two")) == b"for-two"
    group.heartbeat(reply.member_id, 1, "two")
    with pytest.raises(Fenced) as fenced:
        group.heartbeat(two, 1, "two")
    assert fenced.value.reason is Reason.FENCED_INSTANCE_ID


def test_a_leader_that_restarts_is_not_to_assign_anew() -> None:
    group, one, _ = static_group()
    reply = group.joined(group.join(group_instance_id="one"))
    assert reply.leader == one, "an old client must not take itself for the leader"
    assert reply.members == ()
    assert group.synced(group.sync(reply.member_id, 1, group_instance_id="one")) == b"for-one"


def test_a_leader_that_understands_it_is_told_to_skip_the_assignment() -> None:
    group, _, two = static_group()
    reply = group.joined(group.join(group_instance_id="one", supports_skip_assignment=True))
    assert reply.leader == reply.member_id
    assert reply.skip_assignment
    assert [each.member_id for each in reply.members] == [reply.member_id, two]


def test_the_restarted_leader_still_leads_in_the_store() -> None:
    group, _, _ = static_group()
    reply = group.joined(group.join(group_instance_id="one"))
    record = group.state.record()
    assert record.leader == reply.member_id
    assert [each.assignment for each in record.members] == [b"for-one", b"for-two"]


def test_a_restart_that_changes_the_chosen_protocol_rebalances() -> None:
    group, _, two = static_group(BOTH)
    group.join(group_instance_id="one", protocols=(ROUND_ROBIN,))
    assert group.state.phase is GroupPhase.PREPARING_REBALANCE
    rejoining = group.join(member_id=two, group_instance_id="two", protocols=BOTH)
    assert group.joined(rejoining).protocol == "roundrobin"


def test_a_restart_with_other_metadata_but_the_same_choice_does_not() -> None:
    group, _, _ = static_group()
    reply = group.joined(
        group.join(group_instance_id="two", protocols=(GroupProtocol(name="range", metadata=b"new"),))
    )
    assert reply.generation == 1
    assert group.state.record().members[1].protocols[0].metadata == b"new"


def test_a_restart_while_others_wait_fences_the_old_self() -> None:
    group, one, two = static_group()
    parked = group.join(member_id=two, group_instance_id="two", protocols=(*RANGE, ROUND_ROBIN))
    again = group.join(group_instance_id="two")
    assert group.refused(parked) == "FENCED_INSTANCE_ID"
    group.join(member_id=one, group_instance_id="one")
    assert group.joined(again).generation == 2
    assert len(group.state.record().members) == 2


def test_a_restart_while_the_assignment_is_awaited_starts_over() -> None:
    group = HandDriven()
    tickets = [group.join(group_instance_id=each) for each in ("one", "two")]
    group.pass_time(0)
    two = group.joined(tickets[1]).member_id
    waiting = group.sync(two, 1, group_instance_id="two")
    group.join(group_instance_id="two")
    assert group.refused(waiting) == "FENCED_INSTANCE_ID"
    assert group.state.phase is GroupPhase.PREPARING_REBALANCE


@pytest.mark.parametrize("call", ["heartbeat", "sync", "join", "leave"])
def test_the_old_self_is_fenced_everywhere(call: str) -> None:
    group, _, two = static_group()
    group.join(group_instance_id="two")
    if call == "heartbeat":
        with pytest.raises(Fenced) as fenced:
            group.heartbeat(two, 1, "two")
        refused = fenced.value.reason.value
    elif call == "sync":
        refused = group.refused(group.sync(two, 1, group_instance_id="two"))
    elif call == "join":
        refused = group.refused(group.join(member_id=two, group_instance_id="two"))
    else:
        (left,) = group.leave(LeavingMember(member_id=two, group_instance_id="two"))
        assert left.error is not None
        refused = left.error.reason.value
    assert refused == "FENCED_INSTANCE_ID"


def test_an_administrator_removes_a_static_member_by_its_instance() -> None:
    group, one, two = static_group()
    answers = group.leave(LeavingMember(group_instance_id="two"), LeavingMember(group_instance_id="three"))
    assert [each.error is None for each in answers] == [True, False]
    assert group.state.phase is GroupPhase.PREPARING_REBALANCE
    with pytest.raises(NotFound):
        group.heartbeat(two, 1)
    assert group.joined(group.join(member_id=one, group_instance_id="one")).generation == 2


def test_a_static_member_that_does_not_rejoin_stays_until_its_session_ends() -> None:
    group, one, two = static_group()
    newcomer = group.join(rebalance_timeout_ms=60_000, session_timeout_ms=1_800_000)
    rejoining = group.join(
        member_id=one, group_instance_id="one", session_timeout_ms=1_800_000, rebalance_timeout_ms=6_000
    )
    for _ in range(12):
        group.pass_time(5)
        if newcomer in group.replies:
            break
        with pytest.raises(Fenced):
            group.heartbeat(two, 1, "two")
    assert group.joined(rejoining).generation == 2
    assert len(group.joined(rejoining).members) == 3, "it is assigned to all the same"


def test_only_static_members_that_are_away_do_not_complete_a_rebalance() -> None:
    group, one, two = static_group()
    group.leave(LeavingMember(member_id=one))
    for _ in range(14):
        group.pass_time(5)
        with pytest.raises(Fenced) as refused:
            group.heartbeat(two, 1, "two")
        assert refused.value.reason is Reason.REBALANCE_IN_PROGRESS
    assert group.state.generation == 1
    group.pass_time(11)
    assert group.state.phase is GroupPhase.EMPTY
