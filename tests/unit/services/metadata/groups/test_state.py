"""Stories of one group's state machine, each as Kafka's GroupCoordinator tells it."""

import pytest

from libs.clients.group_types import GroupPhase, GroupProtocol, LeavingMember
from libs.model.errors import Fenced, KafscaleError, NotFound, Overloaded, Reason
from libs.model.ids import MemberId
from services.metadata.groups.config import GroupsConfig
from tests.unit.services.metadata.groups.support import HandDriven

ROUND_ROBIN = GroupProtocol(name="roundrobin", metadata=b"rr")
RANGE_ONLY = GroupProtocol(name="range", metadata=b"r")
GONE = MemberId("nobody")


def reason_of(error: pytest.ExceptionInfo[KafscaleError]) -> Reason:
    return error.value.reason


def test_one_member_joins_syncs_and_lives() -> None:
    group = HandDriven()
    joining = group.join()
    assert joining not in group.replies
    group.pass_time(0)
    reply = group.joined(joining)
    assert reply.generation == 1
    assert reply.leader == reply.member_id == "app-1"
    assert [each.metadata for each in reply.members] == [b"range-of-it"]
    group.heartbeat(reply.member_id, 1)
    syncing = group.sync(reply.member_id, 1, {reply.member_id: b"\x00opaque\xff"})
    assert group.synced(syncing) == b"\x00opaque\xff"
    assert group.state.phase is GroupPhase.STABLE
    group.heartbeat(reply.member_id, 1)


def test_an_empty_group_waits_a_little_for_more_members() -> None:
    group = HandDriven(GroupsConfig(initial_rebalance_delay_ms=250))
    first = group.join()
    group.pass_time(0.2)
    second = group.join()
    group.pass_time(0.2)
    assert group.replies == {}, "a member came in the meantime, so it waits once more"
    group.pass_time(0.1)
    assert group.joined(first).generation == group.joined(second).generation == 1
    assert len(group.joined(first).members) == 2
    assert group.joined(second).members == (), "only the leader is told the members"


def test_the_delays_together_are_no_longer_than_the_rebalance_timeout() -> None:
    group = HandDriven(GroupsConfig(initial_rebalance_delay_ms=1000))
    first = group.join(rebalance_timeout_ms=2500)
    for _ in range(5):
        group.pass_time(0.5)
        group.join(rebalance_timeout_ms=2500)
    group.pass_time(0.1)
    assert group.joined(first).generation == 1


def test_a_new_dynamic_member_is_told_its_id_first() -> None:
    group = HandDriven()
    told = group.joined(group.join(require_known_member_id=True))
    assert told.error is not None
    assert told.error.reason is Reason.MEMBER_ID_REQUIRED
    assert group.state.phase is GroupPhase.EMPTY
    joining = group.join(member_id=told.member_id, require_known_member_id=True)
    group.pass_time(0)
    assert group.joined(joining).member_id == told.member_id


def test_an_id_that_was_given_out_holds_up_the_rebalance_until_it_lapses() -> None:
    group = HandDriven()
    leader, follower = group.stable()
    group.join(require_known_member_id=True)
    rejoining = [group.join(member_id=leader), group.join(member_id=follower)]
    assert all(ticket not in group.replies for ticket in rejoining)
    group.pass_time(10)
    assert [group.joined(ticket).generation for ticket in rejoining] == [2, 2]


def test_an_id_that_lapsed_is_unknown() -> None:
    group = HandDriven()
    told = group.joined(group.join(require_known_member_id=True))
    group.pass_time(10)
    assert group.refused(group.join(member_id=told.member_id)) == "UNKNOWN_MEMBER_ID"


@pytest.mark.parametrize("timeout_ms", [0, 5_999, 1_800_001])
def test_session_timeouts_have_bounds(timeout_ms: int) -> None:
    group = HandDriven()
    assert group.refused(group.join(session_timeout_ms=timeout_ms)) == "INVALID_SESSION_TIMEOUT"


def test_the_protocol_is_chosen_by_vote_among_those_that_all_support() -> None:
    group = HandDriven()
    sticky = GroupProtocol(name="sticky", metadata=b"s")
    tickets = [
        group.join(protocols=(sticky, RANGE_ONLY, ROUND_ROBIN)),
        group.join(protocols=(ROUND_ROBIN, RANGE_ONLY)),
        group.join(protocols=(RANGE_ONLY, ROUND_ROBIN)),
    ]
    group.pass_time(0)
    assert {group.joined(ticket).protocol for ticket in tickets} == {"range"}
    assert {each.metadata for each in group.joined(tickets[0]).members} == {b"r"}


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol_type": "connect"},
        {"protocols": (ROUND_ROBIN,)},
        {"protocols": ()},
        {"protocol_type": ""},
    ],
)
def test_a_member_must_share_type_and_a_protocol(changes: dict[str, object]) -> None:
    group = HandDriven()
    group.stable()
    assert group.refused(group.join(**changes)) == "INCONSISTENT_GROUP_PROTOCOL"


@pytest.mark.parametrize("changes", [{"protocols": ()}, {"protocol_type": ""}])
def test_also_the_first_member_needs_type_and_protocols(changes: dict[str, object]) -> None:
    group = HandDriven()
    assert group.refused(group.join(**changes)) == "INCONSISTENT_GROUP_PROTOCOL"


def test_a_newcomer_makes_everybody_rejoin() -> None:
    group = HandDriven()
    leader, follower = group.stable()
    newcomer = group.join()
    with pytest.raises(Fenced) as refused:
        group.heartbeat(follower, 1)
    assert reason_of(refused) is Reason.REBALANCE_IN_PROGRESS
    rejoining = [group.join(member_id=follower), group.join(member_id=leader)]
    assert {group.joined(ticket).generation for ticket in (newcomer, *rejoining)} == {2}
    assert {group.joined(ticket).leader for ticket in (newcomer, *rejoining)} == {leader}
    assert len(group.joined(rejoining[1]).members) == 3


def test_who_does_not_rejoin_in_time_is_out() -> None:
    group = HandDriven()
    leader, follower = group.stable(rebalance_timeout_ms=7_000)
    newcomer = group.join(rebalance_timeout_ms=7_000)
    group.join(member_id=follower, rebalance_timeout_ms=7_000)
    group.pass_time(5)
    with pytest.raises(Fenced):
        group.heartbeat(leader, 1)  # alive, but it does not rejoin
    group.pass_time(3)
    assert group.joined(newcomer).generation == 2
    assert group.joined(newcomer).leader == follower, "the leader is one that joined"
    with pytest.raises(NotFound) as refused:
        group.heartbeat(leader, 2)
    assert reason_of(refused) is Reason.UNKNOWN_MEMBER_ID


def test_a_member_that_falls_silent_is_expired_and_the_others_rebalance() -> None:
    group = HandDriven()
    leader, follower = group.stable()
    group.pass_time(9)
    group.heartbeat(leader, 1)
    group.pass_time(2)
    with pytest.raises(Fenced) as refused:
        group.heartbeat(leader, 1)
    assert reason_of(refused) is Reason.REBALANCE_IN_PROGRESS
    with pytest.raises(NotFound):
        group.heartbeat(follower, 1)
    assert group.joined(group.join(member_id=leader)).generation == 2


def test_who_waits_for_us_is_not_expired() -> None:
    group = HandDriven()
    leader, follower = group.stable(session_timeout_ms=6_000)
    parked = group.join(member_id=follower, session_timeout_ms=6_000, protocols=(RANGE_ONLY,))
    for _ in range(8):
        group.pass_time(5)
        with pytest.raises(Fenced):
            group.heartbeat(leader, 1)
    assert parked not in group.replies
    group.join(member_id=leader, session_timeout_ms=6_000)
    assert group.joined(parked).generation == 2


def test_a_new_member_whose_caller_died_counts_for_five_minutes_at_most() -> None:
    group = HandDriven()
    leader, follower = group.stable(rebalance_timeout_ms=1_000_000)
    abandoned = group.join(rebalance_timeout_ms=1_000_000)
    for _ in range(75):
        group.pass_time(4)
        for each in (leader, follower):
            with pytest.raises(Fenced):
                group.heartbeat(each, 1)
    group.pass_time(1)
    assert group.refused(abandoned) == "UNKNOWN_MEMBER_ID"


def test_followers_wait_for_the_leaders_assignment_and_it_is_stored_first() -> None:
    group = HandDriven()
    tickets = [group.join(), group.join()]
    group.pass_time(0)
    leader, follower = (group.joined(ticket).member_id for ticket in tickets)
    group.auto_persist = False
    following = group.sync(follower, 1)
    leading = group.sync(leader, 1, {leader: b"a", follower: b"b"})
    assert following not in group.replies
    assert leading not in group.replies
    stored = group.to_persist[0].record
    assert [(each.member_id, each.assignment) for each in stored.members] == [
        (leader, b"a"),
        (follower, b"b"),
    ]
    group.persist()
    assert (group.synced(leading), group.synced(following)) == (b"a", b"b")
    late = group.sync(follower, 1)
    assert group.synced(late) == b"b"


def test_the_first_assignment_of_a_generation_is_the_only_one() -> None:
    group = HandDriven()
    ticket = group.join()
    group.pass_time(0)
    leader = group.joined(ticket).member_id
    group.auto_persist = False
    first = group.sync(leader, 1, {leader: b"first"})
    again = group.sync(leader, 1, {leader: b"second"})
    assert group.refused(first) == "REBALANCE_IN_PROGRESS", "its caller asked again"
    assert len(group.to_persist) == 1
    group.persist()
    assert group.synced(again) == b"first"
    assert group.synced(group.sync(leader, 1, {leader: b"third"})) == b"first"


def test_members_without_an_assignment_get_an_empty_one_and_strangers_none() -> None:
    group = HandDriven()
    tickets = [group.join(), group.join()]
    group.pass_time(0)
    leader, follower = (group.joined(ticket).member_id for ticket in tickets)
    group.sync(leader, 1, {leader: b"a", GONE: b"x"})
    assert group.synced(group.sync(follower, 1)) == b""
    assert [each.member_id for each in group.state.record().members] == [leader, follower]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"member_id": "nobody"}, "UNKNOWN_MEMBER_ID"),
        ({"generation": 0}, "ILLEGAL_GENERATION"),
        ({"generation": 2}, "ILLEGAL_GENERATION"),
        ({"generation": -1}, "ILLEGAL_GENERATION"),
        ({"protocol": "roundrobin"}, "INCONSISTENT_GROUP_PROTOCOL"),
        ({"protocol_type": "connect"}, "INCONSISTENT_GROUP_PROTOCOL"),
        ({"group_instance_id": "nowhere"}, "UNKNOWN_MEMBER_ID"),
    ],
)
def test_sync_is_refused_to(changes: dict[str, object], reason: str) -> None:
    group = HandDriven()
    leader, _ = group.stable()
    fields = {"member_id": leader, "generation": 1} | changes
    assert group.refused(group.sync(**fields)) == reason  # type: ignore[arg-type]


def test_sync_in_an_empty_group_is_of_an_unknown_member() -> None:
    group = HandDriven()
    assert group.refused(group.sync(GONE, 0)) == "UNKNOWN_MEMBER_ID"
    with pytest.raises(NotFound):
        group.heartbeat(GONE, 0)


def test_the_leader_leaves_while_the_others_wait_for_its_assignment() -> None:
    group = HandDriven()
    tickets = [group.join(), group.join(), group.join()]
    group.pass_time(0)
    leader, second, third = (group.joined(ticket).member_id for ticket in tickets)
    waiting = [group.sync(second, 1), group.sync(third, 1)]
    (left,) = group.leave(LeavingMember(member_id=leader))
    assert left.error is None
    assert [group.refused(ticket) for ticket in waiting] == ["REBALANCE_IN_PROGRESS"] * 2
    rejoining = [group.join(member_id=third), group.join(member_id=second)]
    assert {group.joined(ticket).leader for ticket in rejoining} == {second}
    assert {group.joined(ticket).generation for ticket in rejoining} == {2}


def test_the_leader_dies_while_the_others_wait_for_its_assignment() -> None:
    group = HandDriven()
    tickets = [group.join(), group.join()]
    group.pass_time(0)
    leader, follower = (group.joined(ticket).member_id for ticket in tickets)
    waiting = group.sync(follower, 1)
    group.pass_time(11)
    assert group.refused(waiting) == "REBALANCE_IN_PROGRESS"
    rejoining = group.join(member_id=follower)
    assert group.joined(rejoining).leader == follower
    assert leader not in {each.member_id for each in group.joined(rejoining).members}


def test_members_that_joined_and_never_sync_are_out_after_the_rebalance_timeout() -> None:
    group = HandDriven()
    tickets = [group.join(rebalance_timeout_ms=15_000), group.join(rebalance_timeout_ms=15_000)]
    group.pass_time(0)
    leader, follower = (group.joined(ticket).member_id for ticket in tickets)
    waiting = group.sync(follower, 1)
    for _ in range(3):
        group.pass_time(4)
        group.heartbeat(leader, 1)  # alive, but it does not assign
    group.pass_time(4)
    assert group.refused(waiting) == "REBALANCE_IN_PROGRESS"
    with pytest.raises(NotFound):
        group.heartbeat(leader, 1)


def test_when_all_leave_the_group_is_empty_and_stored_so() -> None:
    group = HandDriven()
    leader, follower = group.stable()
    group.auto_persist = False
    answers = group.leave(
        LeavingMember(member_id=leader), LeavingMember(member_id=follower), LeavingMember(member_id=GONE)
    )
    assert [None if each.error is None else each.error.reason.value for each in answers] == [
        None,
        None,
        "UNKNOWN_MEMBER_ID",
    ]
    assert group.state.phase is GroupPhase.EMPTY
    assert group.to_persist[-1].record.members == ()
    assert group.to_persist[-1].record.generation == 2
    assert group.to_persist[-1].record.protocol_type == "consumer"


def test_an_empty_group_may_be_of_another_type_next_time() -> None:
    group = HandDriven()
    leader, follower = group.stable()
    group.leave(LeavingMember(member_id=leader), LeavingMember(member_id=follower))
    joining = group.join(protocol_type="connect", protocols=(ROUND_ROBIN,))
    group.pass_time(0)
    assert group.joined(joining).generation == 3
    assert group.joined(joining).protocol_type == "connect"


def test_the_leader_that_rejoins_asks_for_a_rebalance_a_follower_only_for_its_reply() -> None:
    group = HandDriven()
    leader, follower = group.stable()
    asking = group.join(member_id=follower)
    assert group.joined(asking).generation == 1
    assert group.joined(asking).members == ()
    group.heartbeat(follower, 1)
    group.join(member_id=leader)
    assert group.state.phase is GroupPhase.PREPARING_REBALANCE


def test_a_follower_with_another_subscription_makes_a_rebalance() -> None:
    group = HandDriven()
    _, follower = group.stable()
    group.join(member_id=follower, protocols=(RANGE_ONLY,))
    assert group.state.phase is GroupPhase.PREPARING_REBALANCE


def test_a_join_that_is_repeated_before_the_assignment_gets_the_same_generation() -> None:
    group = HandDriven()
    tickets = [group.join(), group.join()]
    group.pass_time(0)
    leader = group.joined(tickets[0]).member_id
    repeated = group.join(member_id=leader)
    assert group.joined(repeated) == group.joined(tickets[0])


def test_a_rejoin_with_other_metadata_before_the_assignment_starts_over() -> None:
    group = HandDriven()
    tickets = [group.join(), group.join()]
    group.pass_time(0)
    leader, follower = (group.joined(ticket).member_id for ticket in tickets)
    waiting = group.sync(follower, 1)
    group.join(member_id=leader, protocols=(RANGE_ONLY,))
    assert group.refused(waiting) == "REBALANCE_IN_PROGRESS"
    assert group.refused(group.sync(follower, 1)) == "REBALANCE_IN_PROGRESS"


def test_an_assignment_that_arrives_in_the_store_too_late_is_not_handed_out() -> None:
    group = HandDriven()
    ticket = group.join()
    group.pass_time(0)
    leader = group.joined(ticket).member_id
    group.auto_persist = False
    leading = group.sync(leader, 1, {leader: b"old"})
    version = group.to_persist[0].version
    group.join(member_id=leader, protocols=(RANGE_ONLY,))
    assert group.refused(leading) == "REBALANCE_IN_PROGRESS"
    group.take(group.state.persisted(version, group.now))
    assert group.state.phase is GroupPhase.COMPLETING_REBALANCE
    assert group.state.record().members[0].assignment == b""


def test_an_assignment_that_can_never_be_stored_is_refused_and_the_group_starts_over() -> None:
    group = HandDriven()
    ticket = group.join()
    group.pass_time(0)
    leader = group.joined(ticket).member_id
    group.auto_persist = False
    leading = group.sync(leader, 1, {leader: b"huge"})
    error = Overloaded("too large", reason=Reason.GROUP_MAX_SIZE_REACHED)
    group.take(group.state.persist_failed(group.to_persist[-1].version, error, group.now))
    assert group.refused(leading) == "GROUP_MAX_SIZE_REACHED"
    assert group.state.phase is GroupPhase.PREPARING_REBALANCE


def test_a_loaded_group_goes_on_without_a_rebalance() -> None:
    before = HandDriven()
    leader, follower = before.stable()
    after = HandDriven(record=before.state.record())
    assert after.state.phase is GroupPhase.STABLE
    after.heartbeat(leader, 1)
    after.heartbeat(follower, 1)
    assert after.synced(after.sync(follower, 1)) == follower.encode()
    assert after.state.record() == before.state.record()
    after.pass_time(9)
    after.heartbeat(leader, 1)
    after.pass_time(9)
    with pytest.raises(NotFound):
        after.heartbeat(follower, 1)


def test_after_a_time_when_nobody_could_be_judged_all_have_their_full_time() -> None:
    group = HandDriven()
    leader, _ = group.stable()
    group.now += 1000
    group.state.refresh_all(group.now)
    group.pass_time(9)
    group.heartbeat(leader, 1)


def test_closing_answers_everybody() -> None:
    group = HandDriven()
    leader, _ = group.stable()
    parked = [group.join(), group.join(member_id=leader)]
    group.take(group.state.close(Fenced("over")))
    assert [group.refused(ticket) for ticket in parked] == ["FENCED_LEADER_EPOCH"] * 2
    assert group.refused(group.join()) == "NOT_COORDINATOR"
    assert group.refused(group.sync(leader, 1)) == "NOT_COORDINATOR"


def test_a_description_tells_assignments_only_while_stable() -> None:
    group = HandDriven()
    leader, follower = group.stable()
    stable = group.state.describe()
    assert stable.phase is GroupPhase.STABLE
    assert stable.record.protocol == "range"
    assert [(each.member_id, each.assignment) for each in stable.record.members] == [
        (leader, leader.encode()),
        (follower, follower.encode()),
    ]
    group.join()
    preparing = group.state.describe()
    assert preparing.phase is GroupPhase.PREPARING_REBALANCE
    assert preparing.record.protocol == ""
    assert len(preparing.record.members) == 3
    assert {(each.assignment, each.protocols) for each in preparing.record.members} == {(b"", ())}
