"""Any sequence of requests and times: what must hold of a group's state machine whatever happens.

The invariants: generations only grow; a generation has one set of assignments and each member gets its own
part of it; only the leader is told the members, itself among them; an assignment is handed out only after it
was stored; every parked request is answered in the end.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from libs.clients.group_types import (
    GroupPhase,
    GroupProtocol,
    GroupRecord,
    JoinGroupReply,
    LeavingMember,
    SyncGroupReply,
)
from libs.model.errors import KafscaleError, Moved
from libs.model.ids import MemberId
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.effects import Ticket
from tests.unit.services.metadata.groups.support import HandDriven

PROTOCOLS = [
    (GroupProtocol(name="range", metadata=b"1"),),
    (GroupProtocol(name="range", metadata=b"2"), GroupProtocol(name="sticky", metadata=b"s")),
    (GroupProtocol(name="sticky", metadata=b"s"), GroupProtocol(name="range", metadata=b"1")),
]
INSTANCES = st.sampled_from([None, None, "one", "two"])


class GroupMachine(RuleBasedStateMachine):
    """The model keeps only what clients saw."""

    seen = Bundle("seen")

    def __init__(self) -> None:
        super().__init__()
        self.group = HandDriven(GroupsConfig(initial_rebalance_delay_ms=100, members_max=5))
        self.group.auto_persist = False
        self.generation = 0
        self.stored = GroupRecord()
        self.syncing: dict[Ticket, tuple[MemberId, int]] = {}
        self.checked: set[Ticket] = set()
        self.assigned: dict[int, int] = {}
        self.round = 0

    @rule(
        target=seen,
        instance=INSTANCES,
        protocols=st.sampled_from(PROTOCOLS),
        known=st.booleans(),
        skip=st.booleans(),
    )
    def newcomer(
        self, instance: str | None, protocols: tuple[GroupProtocol, ...], known: bool, skip: bool
    ) -> Ticket:
        return self.group.join(
            group_instance_id=instance,
            protocols=protocols,
            require_known_member_id=known,
            supports_skip_assignment=skip,
        )

    @rule(ticket=seen, protocols=st.sampled_from(PROTOCOLS))
    def rejoin(self, ticket: Ticket, protocols: tuple[GroupProtocol, ...]) -> None:
        reply = self.group.replies.get(ticket)
        if isinstance(reply, JoinGroupReply):
            self.group.join(member_id=reply.member_id, protocols=protocols)

    @rule(ticket=seen)
    def sync(self, ticket: Ticket) -> None:
        self._sync(ticket)

    @rule(rejoin=st.booleans())
    def complete_a_rebalance(self, rejoin: bool) -> None:
        """What well-behaved clients do, so that sequences get somewhere."""
        members = self.group.state.record().members
        tickets = [
            self.group.join(member_id=each.member_id, group_instance_id=each.group_instance_id)
            for each in members
            if rejoin or self.group.state.phase is GroupPhase.PREPARING_REBALANCE
        ]
        self.group.pass_time(0.2)
        for ticket in tickets:
            self._sync(ticket)
        self.store()

    def _sync(self, ticket: Ticket) -> None:
        reply = self.group.replies.get(ticket)
        if isinstance(reply, JoinGroupReply) and reply.error is None:
            self.round += 1
            assignments = {
                each.member_id: f"{self.round}/{reply.generation}/{each.member_id}".encode()
                for each in reply.members
            }
            syncing = self.group.sync(reply.member_id, reply.generation, assignments)
            self.syncing[syncing] = (reply.member_id, reply.generation)

    @rule(ticket=seen)
    def heartbeat(self, ticket: Ticket) -> None:
        reply = self.group.replies.get(ticket)
        if isinstance(reply, JoinGroupReply):
            try:
                self.group.heartbeat(reply.member_id, reply.generation)
            except KafscaleError:
                return

    @rule(ticket=consumes(seen))
    def leave(self, ticket: Ticket) -> None:
        reply = self.group.replies.get(ticket)
        if isinstance(reply, JoinGroupReply):
            self.group.leave(LeavingMember(member_id=reply.member_id))

    @rule(instance=st.sampled_from(["one", "two"]))
    def remove_static(self, instance: str) -> None:
        self.group.leave(LeavingMember(group_instance_id=instance))

    @rule(seconds=st.sampled_from([0.0, 0.05, 1.0, 5.0, 11.0, 65.0]))
    def pass_time(self, seconds: float) -> None:
        self.group.pass_time(seconds)

    @rule()
    def store(self) -> None:
        if self.group.to_persist:
            self.stored = self.group.to_persist[-1].record
            self.group.persist()

    @rule()
    def coordinator_dies(self) -> None:
        """Another one loads what is stored; whoever was parked has to ask again."""
        self.group.take(self.group.state.close(Moved("gone")))
        self._check_all_answered()
        before, self.group = (
            self.group,
            HandDriven(GroupsConfig(initial_rebalance_delay_ms=100, members_max=5), record=self.stored),
        )
        self.group.auto_persist = False
        self.group.now, self.group.ids, self.group.tickets = before.now, before.ids, before.tickets
        self.group.replies = before.replies
        self.group.state.refresh_all(self.group.now)
        # Generations whose assignment nobody ever got may come once more.
        self.generation = self.stored.generation
        self.assigned = {each: made for each, made in self.assigned.items() if each <= self.generation}

    @invariant()
    def generations_grow(self) -> None:
        assert self.group.state.generation >= self.generation
        self.generation = self.group.state.generation

    @invariant()
    def the_leader_is_told_all_and_nobody_else_anything(self) -> None:
        for ticket, reply in self.group.replies.items():
            if ticket in self.checked or not isinstance(reply, JoinGroupReply):
                continue
            self.checked.add(ticket)
            if reply.members:
                assert reply.leader == reply.member_id
                assert reply.member_id in {each.member_id for each in reply.members}
            elif reply.error is None:
                assert reply.leader != reply.member_id

    @invariant()
    def one_set_of_assignments_a_generation(self) -> None:
        for ticket in [each for each in self.syncing if each in self.group.replies]:
            member_id, generation = self.syncing.pop(ticket)
            reply = self.group.replies[ticket]
            if not isinstance(reply, SyncGroupReply) or not reply.assignment:
                continue
            made, of_generation, whose = reply.assignment.decode().split("/", 2)
            assert int(of_generation) == generation
            assert self.assigned.setdefault(generation, int(made)) == int(made)
            member = next(
                each for each in self.group.state.record().members if each.assignment == reply.assignment
            )
            assert whose in (member_id, member.member_id) or member.group_instance_id is not None
            stored = {each.assignment for each in self.stored.members}
            assert reply.assignment in stored, "what is handed out is stored"

    def _check_all_answered(self) -> None:
        answered = set(self.group.replies)
        assert answered == set(range(1, self.group.tickets + 1))

    def teardown(self) -> None:
        """Time alone answers everybody, as long as the store works."""
        for _ in range(8):
            if self.group.to_persist:
                self.group.persist()
            self.group.pass_time(400.0)
        self._check_all_answered()
        assert self.group.state.phase is GroupPhase.EMPTY


GroupMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
test_any_sequence_keeps_the_invariants = GroupMachine.TestCase
