"""The state machine of one classic consumer group. Pure: fed with requests and the time, it returns effects.

Owns: phases, generations, members, who is parked. Does not own: storage, tasks, the clock, chance.
Rules:
1 a generation has exactly one set of assignments: the leader's first, byte for byte;
2 an assignment is handed out only after it was persisted: a new coordinator knows all that members know;
3 every parked request is answered once: when its phase completes, when its member goes, or by `close`;
4 time comes only through `now` (seconds of any monotonic clock); `tick` acts on deadlines, nothing else does.

The protocol is that of Kafka's GroupCoordinator (KIP-62, KIP-345, KIP-394, KIP-814):

    Empty -> PreparingRebalance -> CompletingRebalance -> Stable -> PreparingRebalance -> ... -> Dead
      ^------------------'  (nobody is left)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from libs.clients.group_types import (
    NO_GENERATION,
    NO_MEMBER,
    CommitOffsets,
    GroupDescription,
    GroupPhase,
    GroupRecord,
    Heartbeat,
    JoinGroup,
    JoinGroupReply,
    LeaveGroup,
    LeavingMember,
    LeftMember,
    SyncGroup,
    SyncGroupReply,
)
from libs.model.errors import KafscaleError, Overloaded
from libs.model.ids import GroupId, MemberId
from services.metadata.groups import errors
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.effects import Effect, Outbox, Ticket
from services.metadata.groups.members import Member, Roster, member_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Assigning:
    """The leader's assignments, while they are being persisted."""

    version: int
    assignments: dict[MemberId, bytes]


class GroupState:
    """One group. `new_member_id` makes an id that nobody else has from a readable prefix."""

    def __init__(
        self,
        group: GroupId,
        *,
        config: GroupsConfig,
        new_member_id: Callable[[str], MemberId],
        record: GroupRecord | None = None,
        now: float = 0.0,
    ) -> None:
        self.group = group
        self.phase = GroupPhase.EMPTY
        self.generation = 0
        self.protocol = ""
        self._config = config
        self._new_member_id = new_member_id
        self._roster = Roster(group)
        self._out = Outbox()
        self._assigning: _Assigning | None = None
        self._initial = False
        self._initial_left_seconds = 0.0
        self._member_added = False
        self._rebalance_deadline = 0.0
        self._pending_sync: set[MemberId] = set()
        self._sync_deadline = 0.0
        if record is not None:
            self._load(record, now)

    @property
    def is_idle(self) -> bool:
        """Nothing is lost when it is forgotten and loaded again."""
        return self.phase is GroupPhase.EMPTY and not self._roster.pending

    @property
    def member_count(self) -> int:
        return len(self._roster)

    @property
    def protocol_type(self) -> str:
        return self._roster.protocol_type

    # Requests.

    def join(self, request: JoinGroup, ticket: Ticket, now: float) -> list[Effect]:
        """The ticket is answered now or when the rebalance is complete."""
        try:
            self._join(request, ticket, now)
        except KafscaleError as error:
            self._out.refuse(ticket, error)
        self._complete_join_if_all_joined(now)
        return self._out.take()

    def sync(self, request: SyncGroup, ticket: Ticket, now: float) -> list[Effect]:
        """The ticket is answered now or when the leader's assignment is persisted."""
        try:
            self._sync(request, ticket, now)
        except KafscaleError as error:
            self._out.refuse(ticket, error)
        return self._out.take()

    def heartbeat(self, request: Heartbeat, now: float) -> None:
        """Raises NotFound(UNKNOWN_MEMBER_ID), Fenced(FENCED_INSTANCE_ID, ILLEGAL_GENERATION,
        REBALANCE_IN_PROGRESS)."""
        self._check_alive()
        member = self._roster.check(request.member_id, request.group_instance_id)
        self._check_generation(request.generation)
        member.refresh(now)
        if self.phase is GroupPhase.PREPARING_REBALANCE:
            raise errors.rebalance_in_progress(self.group)

    def leave(self, request: LeaveGroup, now: float) -> tuple[tuple[LeftMember, ...], list[Effect]]:
        """One answer a member, in order (KIP-345)."""
        self._check_alive()
        answers = tuple(self._leave(leaving, now) for leaving in request.members)
        return answers, self._out.take()

    def check_commit(self, request: CommitOffsets, now: float) -> None:
        """Whether offsets may be committed; counts as a heartbeat. Raises what `heartbeat` does."""
        self._check_alive()
        if request.generation < 0 and self.phase is GroupPhase.EMPTY:
            return  # the group is only used to store offsets
        anonymous = request.member_id == NO_MEMBER and request.group_instance_id is None
        if request.generation < 0 and anonymous:
            raise errors.unknown_member(self.group, request.member_id)
        member = self._roster.check(request.member_id, request.group_instance_id)
        self._check_generation(request.generation)
        if self.phase is GroupPhase.COMPLETING_REBALANCE:
            raise errors.rebalance_in_progress(self.group)
        # While a rebalance is prepared commits go through: heartbeats tell the member of it.
        member.refresh(now)

    # Storage and time.

    def persisted(self, version: int, now: float) -> list[Effect]:
        """The record of this version is stored."""
        self._out.release(version)
        if self._assigning is not None and self._assigning.version <= version:
            assignments = self._assigning.assignments
            self._assigning = None
            self.phase = GroupPhase.STABLE
            for member in self._roster:
                member.assignment = assignments.get(member.member_id, b"")
                self._answer_sync(member, now)
        return self._out.take()

    def persist_failed(self, version: int, error: KafscaleError, now: float) -> list[Effect]:
        """The record of this version can't ever be stored: those who wait for it hear why."""
        self._out.refuse_held(version, error)
        if self._assigning is not None and self._assigning.version <= version:
            self._reset_assignments(error, now)
            self._prepare_rebalance(now)
        return self._out.take()

    def tick(self, now: float) -> list[Effect]:
        """Acts on every deadline that has passed."""
        for member_id in [each for each, lapses in self._roster.pending.items() if lapses <= now]:
            del self._roster.pending[member_id]
        for member in self._roster:
            if member.deadline <= now and member.member_id in self._roster:
                self._session_over(member, now)
        self._complete_join_if_all_joined(now)
        if self.phase is GroupPhase.PREPARING_REBALANCE and self._rebalance_deadline <= now:
            self._rebalance_timed_out(now)
        elif self._pending_sync and self._sync_deadline <= now:
            for member_id in sorted(self._pending_sync):
                self._remove(self._roster[member_id])
            self._prepare_rebalance(now)
        return self._out.take()

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, at the earliest."""
        deadlines = [member.deadline for member in self._roster]
        deadlines += self._roster.pending.values()
        if self.phase is GroupPhase.PREPARING_REBALANCE:
            deadlines.append(self._rebalance_deadline)
        if self._pending_sync:
            deadlines.append(self._sync_deadline)
        return min(deadlines, default=None)

    def refresh_all(self, now: float) -> None:
        """Gives everybody their full time again: for a while nobody could be judged."""
        for member in self._roster:
            member.refresh(now)
        if self.phase is GroupPhase.PREPARING_REBALANCE and not self._initial:
            self._rebalance_deadline = now + self._roster.rebalance_timeout_seconds
        self._sync_deadline = now + self._roster.rebalance_timeout_seconds

    def close(self, error: KafscaleError) -> list[Effect]:
        """Ends this group here: every parked request gets `error`."""
        for member in self._roster:
            self._refuse_parked(member, error)
        self._out.refuse_held(None, error)
        self._assigning = None
        self.phase = GroupPhase.DEAD
        return self._out.take()

    def record(self) -> GroupRecord:
        """The group as it is stored."""
        return self._roster.record(generation=self.generation, protocol=self.protocol)

    def describe(self) -> GroupDescription:
        """As Kafka's DescribeGroups: protocol, metadata and assignments only while stable."""
        protocol = self.protocol if self.phase is GroupPhase.STABLE else ""
        record = replace(self.record(), protocol=protocol, members=self._roster.described(protocol))
        return GroupDescription(group=self.group, phase=self.phase, record=record)

    # Joining.

    def _join(self, request: JoinGroup, ticket: Ticket, now: float) -> None:
        self._check_alive()
        low_ms, high_ms = self._config.session_timeout_ms_min, self._config.session_timeout_ms_max
        if not low_ms <= request.session_timeout_ms <= high_ms:
            raise errors.session_timeout_out_of_bounds(request.session_timeout_ms, low_ms, high_ms)
        self._check_room(request, now)
        if not self._roster.supports(request.protocol_type, request.protocols):
            raise errors.inconsistent_protocol(self.group)
        if request.member_id != NO_MEMBER:
            self._join_known(request, ticket, now)
            return
        member_id = self._new_member_id(request.group_instance_id or request.client_id)
        if request.group_instance_id is not None:
            known = self._roster.static_member(request.group_instance_id)
            if known is not None:
                self._replace_static(known, member_id, request, ticket, now)
                return
        elif request.require_known_member_id:
            self._roster.pending[member_id] = now + request.session_timeout_ms / 1000
            required = errors.member_id_required(self.group, member_id)
            self._out.reply(ticket, JoinGroupReply(member_id=member_id, error=required))
            return
        self._add(request, member_id, ticket, now)

    def _check_room(self, request: JoinGroup, now: float) -> None:
        """Raises Overloaded(GROUP_MAX_SIZE_REACHED); a member that finds no room is out (as in Kafka)."""
        preparing = self.phase is GroupPhase.PREPARING_REBALANCE
        try:
            self._roster.check_room(request, self._config, preparing=preparing)
        except Overloaded:
            self._roster.pending.pop(request.member_id, None)
            member = self._roster.get(request.member_id)
            if member is not None:
                self._remove(member)
                self._after_removal(now)
            raise
        self._roster.check_metadata(request, self._config)

    def _join_known(self, request: JoinGroup, ticket: Ticket, now: float) -> None:
        if request.group_instance_id is None and request.member_id in self._roster.pending:
            self._add(request, request.member_id, ticket, now)
            return
        member = self._roster.check(request.member_id, request.group_instance_id)
        unchanged = member.protocols == request.protocols
        is_leader = self._roster.leader == member.member_id
        repeated = self.phase is GroupPhase.COMPLETING_REBALANCE and unchanged
        follower_asks = self.phase is GroupPhase.STABLE and unchanged and not is_leader
        if repeated or follower_asks:
            # It lost the reply, or asks again: the same generation is told once more.
            member.refresh(now)
            self._out.reply(ticket, self._join_reply(member))
            return
        self._out.refuse(member.join_ticket, errors.rebalance_in_progress(self.group))
        member.update(request, ticket)
        self._rebalance(now)

    def _add(self, request: JoinGroup, member_id: MemberId, ticket: Ticket, now: float) -> None:
        if self.phase is GroupPhase.PREPARING_REBALANCE and self.generation == 0:
            self._member_added = True
        member = Member(
            member_id=member_id,
            group_instance_id=request.group_instance_id,
            client_id=request.client_id,
            client_host=request.client_host,
            session_timeout_ms=request.session_timeout_ms,
            rebalance_timeout_ms=request.rebalance_timeout_ms or request.session_timeout_ms,
            protocols=request.protocols,
            join_ticket=ticket,
            is_new=True,
            deadline=now + self._config.new_member_join_timeout_ms / 1000,
        )
        self._roster.add(member, request.protocol_type)
        self._rebalance(now)

    def _replace_static(
        self, member: Member, member_id: MemberId, request: JoinGroup, ticket: Ticket, now: float
    ) -> None:
        """A static member came back (KIP-345): its past self is fenced; no rebalance if nothing changes."""
        old_id, old_leader = member.member_id, self._roster.leader
        self._refuse_parked(member, errors.fenced_instance(self.group, request.group_instance_id or ""))
        self._roster.rename(member, member_id)
        if old_id in self._pending_sync:
            self._pending_sync.remove(old_id)
            self._pending_sync.add(member_id)
        member.update(request, ticket)
        member.is_new = False
        member.refresh(now)
        if self.phase is not GroupPhase.STABLE or self._roster.select_protocol() != self.protocol:
            self._rebalance(now)
            return
        member.join_ticket = None
        reply = self._join_reply(member)
        if request.supports_skip_assignment:
            reply = replace(reply, skip_assignment=self._roster.leader == member_id)
        else:
            # It must not take itself for the leader, who would have to assign anew.
            reply = replace(reply, leader=old_leader, members=())
        version = self._out.persist(self.record())
        self._out.reply_once_persisted(version, ticket, reply)

    def _join_reply(self, member: Member) -> JoinGroupReply:
        is_leader = member.member_id == self._roster.leader
        return JoinGroupReply(
            member_id=member.member_id,
            generation=self.generation,
            protocol_type=self._roster.protocol_type,
            protocol=self.protocol,
            leader=self._roster.leader,
            members=self._roster.joined_members(self.protocol) if is_leader else (),
        )

    # Rebalancing.

    def _rebalance(self, now: float) -> None:
        if self.phase is not GroupPhase.PREPARING_REBALANCE:
            self._prepare_rebalance(now)

    def _prepare_rebalance(self, now: float) -> None:
        if self.phase is GroupPhase.COMPLETING_REBALANCE:
            self._reset_assignments(errors.rebalance_in_progress(self.group), now)
        self._pending_sync.clear()
        timeout_seconds = self._roster.rebalance_timeout_seconds
        self._initial = self.phase is GroupPhase.EMPTY
        if self._initial:
            delay_seconds = self._config.initial_rebalance_delay_ms / 1000
            self._member_added = False
            self._initial_left_seconds = max(timeout_seconds - delay_seconds, 0.0)
            timeout_seconds = delay_seconds
        self._rebalance_deadline = now + timeout_seconds
        self.phase = GroupPhase.PREPARING_REBALANCE
        self._complete_join_if_all_joined(now)

    def _complete_join_if_all_joined(self, now: float) -> None:
        preparing = self.phase is GroupPhase.PREPARING_REBALANCE and not self._initial
        if preparing and self._roster.all_joined:
            self._complete_join(now)

    def _rebalance_timed_out(self, now: float) -> None:
        if self._initial and self._member_added and self._initial_left_seconds > 0:
            delay_seconds = min(self._config.initial_rebalance_delay_ms / 1000, self._initial_left_seconds)
            self._member_added = False
            self._initial_left_seconds -= delay_seconds
            self._rebalance_deadline = now + delay_seconds
            return
        self._initial = False
        self._complete_join(now)

    def _complete_join(self, now: float) -> None:
        for member in self._roster:
            if member.join_ticket is None and member.group_instance_id is None:
                self._remove(member)
        if len(self._roster) and not self._roster.elect_joined_leader():
            # Only static members that did not rejoin: their sessions decide.
            self._rebalance_deadline = now + self._roster.rebalance_timeout_seconds
            return
        self.generation += 1
        if not len(self._roster):
            self.phase = GroupPhase.EMPTY
            self.protocol = ""
            self._out.persist(self.record())
            return
        self.protocol = self._roster.select_protocol()
        self.phase = GroupPhase.COMPLETING_REBALANCE
        for member in self._roster:
            if member.join_ticket is not None:
                self._out.reply(member.join_ticket, self._join_reply(member))
                member.join_ticket = None
            member.is_new = False
            member.refresh(now)
            self._pending_sync.add(member.member_id)
        self._sync_deadline = now + self._roster.rebalance_timeout_seconds

    # Assignments.

    def _sync(self, request: SyncGroup, ticket: Ticket, now: float) -> None:
        self._check_alive()
        member = self._roster.check(request.member_id, request.group_instance_id)
        self._check_generation(request.generation)
        other_type = bool(request.protocol_type) and request.protocol_type != self._roster.protocol_type
        if other_type or (request.protocol and request.protocol != self.protocol):
            raise errors.inconsistent_protocol(self.group)
        if self.phase is GroupPhase.PREPARING_REBALANCE:
            raise errors.rebalance_in_progress(self.group)
        self._pending_sync.discard(member.member_id)
        self._out.refuse(member.sync_ticket, errors.rebalance_in_progress(self.group))
        member.sync_ticket = ticket
        if self.phase is GroupPhase.STABLE:
            self._answer_sync(member, now)
        elif member.member_id == self._roster.leader and self._assigning is None:
            assignments = {each.member_id: each.assignment for each in request.assignments}
            record = self._roster.record(
                generation=self.generation, protocol=self.protocol, assignments=assignments
            )
            version = self._out.persist(record)
            self._assigning = _Assigning(version=version, assignments=assignments)

    def _answer_sync(self, member: Member, now: float) -> None:
        if member.sync_ticket is None:
            return
        member.refresh(now)
        reply = SyncGroupReply(
            protocol_type=self._roster.protocol_type, protocol=self.protocol, assignment=member.assignment
        )
        self._out.reply(member.sync_ticket, reply)
        member.sync_ticket = None

    def _reset_assignments(self, error: KafscaleError, now: float) -> None:
        self._assigning = None
        for member in self._roster:
            member.assignment = b""
            if member.sync_ticket is not None:
                self._out.refuse(member.sync_ticket, error)
                member.sync_ticket = None
                member.refresh(now)  # while it waited for us its session did not run

    # Leaving.

    def _leave(self, leaving: LeavingMember, now: float) -> LeftMember:
        error: KafscaleError | None = None
        if leaving.member_id in self._roster.pending and leaving.group_instance_id is None:
            del self._roster.pending[leaving.member_id]
            self._complete_join_if_all_joined(now)
        else:
            try:
                self._remove(self._roster.leaving_member(leaving))
                self._after_removal(now)
            except KafscaleError as refused:
                error = refused
        return LeftMember(
            member_id=leaving.member_id, group_instance_id=leaving.group_instance_id, error=error
        )

    def _session_over(self, member: Member, now: float) -> None:
        parked = member.join_ticket is not None or member.sync_ticket is not None
        if parked and not member.is_new:
            member.refresh(now)  # whoever waits for us is alive
            return
        self._remove(member)
        self._after_removal(now)

    def _remove(self, member: Member) -> None:
        self._refuse_parked(member, errors.unknown_member(self.group, member.member_id))
        self._pending_sync.discard(member.member_id)
        self._roster.remove(member)

    def _after_removal(self, now: float) -> None:
        if self.phase in (GroupPhase.STABLE, GroupPhase.COMPLETING_REBALANCE):
            self._prepare_rebalance(now)
        else:
            self._complete_join_if_all_joined(now)

    def _refuse_parked(self, member: Member, error: KafscaleError) -> None:
        self._out.refuse(member.join_ticket, error)
        self._out.refuse(member.sync_ticket, error)
        member.join_ticket = member.sync_ticket = None

    # The rest.

    def _check_alive(self) -> None:
        if self.phase is GroupPhase.DEAD:
            raise errors.not_coordinator(self.group)

    def _check_generation(self, generation: int) -> None:
        if generation != self.generation or generation == NO_GENERATION:
            raise errors.illegal_generation(self.group, generation, self.generation)

    def _load(self, record: GroupRecord, now: float) -> None:
        self.generation = record.generation
        self.protocol = record.protocol
        for stored in record.members:
            self._roster.add(member_of(stored, now), record.protocol_type)
        if record.members:
            self._roster.leader = record.leader
            self.phase = GroupPhase.STABLE
        self._roster.protocol_type = record.protocol_type
