"""Who is in one group: members, static members, ids given out, the leader, the vote on a protocol. Pure.

Owns: the roster. Does not own: phases and replies (state.py).
Rules: 1 the first member to join leads; when it goes, another one does; 2 the protocol is one that all
members support, chosen by each member's vote for its most preferred (Kafka's GroupMetadata.selectProtocol).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from libs.clients.group_types import (
    NO_MEMBER,
    GroupMember,
    GroupProtocol,
    GroupRecord,
    JoinedMember,
    JoinGroup,
    LeavingMember,
)
from libs.model.ids import GroupId, MemberId
from services.metadata.groups import errors
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.effects import Ticket


@dataclass(slots=True, kw_only=True)
class Member:
    member_id: MemberId
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[GroupProtocol, ...]
    deadline: float
    """When its session ends, in seconds of the caller's monotonic clock."""
    assignment: bytes = b""
    join_ticket: Ticket | None = None
    sync_ticket: Ticket | None = None
    is_new: bool = False
    """It was never told its generation, so it can't send heartbeats yet."""

    @property
    def metadata_bytes(self) -> int:
        return sum(len(each.name) + len(each.metadata) for each in self.protocols)

    def metadata_of(self, protocol: str) -> bytes:
        return next((each.metadata for each in self.protocols if each.name == protocol), b"")

    def refresh(self, now: float) -> None:
        self.deadline = now + self.session_timeout_ms / 1000

    def update(self, request: JoinGroup, ticket: Ticket) -> None:
        self.client_id = request.client_id
        self.client_host = request.client_host
        self.session_timeout_ms = request.session_timeout_ms
        self.rebalance_timeout_ms = request.rebalance_timeout_ms or request.session_timeout_ms
        self.protocols = request.protocols
        self.join_ticket = ticket

    def described(self, protocols: tuple[GroupProtocol, ...], assignment: bytes) -> GroupMember:
        return GroupMember(
            member_id=self.member_id,
            group_instance_id=self.group_instance_id,
            client_id=self.client_id,
            client_host=self.client_host,
            session_timeout_ms=self.session_timeout_ms,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            protocols=protocols,
            assignment=assignment,
        )


def member_of(stored: GroupMember, now: float) -> Member:
    """A loaded member, with a fresh session."""
    member = Member(
        member_id=stored.member_id,
        group_instance_id=stored.group_instance_id,
        client_id=stored.client_id,
        client_host=stored.client_host,
        session_timeout_ms=stored.session_timeout_ms,
        rebalance_timeout_ms=stored.rebalance_timeout_ms,
        protocols=stored.protocols,
        assignment=stored.assignment,
        deadline=now,
    )
    member.refresh(now)
    return member


class Roster:
    """The members of one group, in the order in which they came."""

    def __init__(self, group: GroupId) -> None:
        self._group = group
        self._members: dict[MemberId, Member] = {}
        self._static: dict[str, MemberId] = {}
        self.pending: dict[MemberId, float] = {}
        """Ids given out (KIP-394) and not used yet, with the time when they lapse."""
        self.leader = NO_MEMBER
        self.protocol_type = ""

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        """Safe against removals while iterating."""
        return iter(tuple(self._members.values()))

    def __contains__(self, member_id: MemberId) -> bool:
        return member_id in self._members

    def __getitem__(self, member_id: MemberId) -> Member:
        return self._members[member_id]

    def get(self, member_id: MemberId) -> Member | None:
        return self._members.get(member_id)

    def static_member(self, instance_id: str) -> Member | None:
        member_id = self._static.get(instance_id)
        return None if member_id is None else self._members[member_id]

    def check(self, member_id: MemberId, instance_id: str | None) -> Member:
        """The member. Raises NotFound(UNKNOWN_MEMBER_ID), Fenced(FENCED_INSTANCE_ID) (KIP-345)."""
        if instance_id is not None:
            current = self._static.get(instance_id)
            if current is None:
                raise errors.unknown_member(self._group, member_id)
            if current != member_id:
                raise errors.fenced_instance(self._group, instance_id)
        member = self._members.get(member_id)
        if member is None:
            raise errors.unknown_member(self._group, member_id)
        return member

    def leaving_member(self, leaving: LeavingMember) -> Member:
        """An administrator names a static member by its instance alone. Raises what `check` does."""
        if leaving.member_id == NO_MEMBER and leaving.group_instance_id is not None:
            member = self.static_member(leaving.group_instance_id)
            if member is not None:
                return member
        return self.check(leaving.member_id, leaving.group_instance_id)

    def add(self, member: Member, protocol_type: str) -> None:
        if not self._members:
            self.protocol_type = protocol_type
        self._members[member.member_id] = member
        self.pending.pop(member.member_id, None)
        if member.group_instance_id is not None:
            self._static[member.group_instance_id] = member.member_id
        if self.leader == NO_MEMBER:
            self.leader = member.member_id

    def remove(self, member: Member) -> None:
        del self._members[member.member_id]
        if member.group_instance_id is not None:
            del self._static[member.group_instance_id]
        if self.leader == member.member_id:
            self.leader = next(iter(self._members), NO_MEMBER)

    def rename(self, member: Member, member_id: MemberId) -> None:
        """A static member came back under a new id."""
        old_id, member.member_id = member.member_id, member_id
        self._members = {each.member_id: each for each in self._members.values()}
        if member.group_instance_id is not None:
            self._static[member.group_instance_id] = member_id
        if self.leader == old_id:
            self.leader = member_id

    @property
    def awaiting_join(self) -> int:
        return sum(member.join_ticket is not None for member in self._members.values())

    @property
    def all_joined(self) -> bool:
        return not self.pending and self.awaiting_join == len(self._members)

    @property
    def rebalance_timeout_seconds(self) -> float:
        return max((member.rebalance_timeout_ms for member in self._members.values()), default=0) / 1000

    def check_room(self, request: JoinGroup, config: GroupsConfig, *, preparing: bool) -> None:
        """Raises Overloaded(GROUP_MAX_SIZE_REACHED) where there is no place for this member.

        While a rebalance is prepared those that joined count, so that a group that is too large shrinks.
        """
        members_max, member = config.members_max, self._same_member(request)
        if preparing:
            awaited = member is not None and member.join_ticket is not None
            has_room = awaited or self.awaiting_join < members_max
        else:
            has_room = member is not None or len(self) < members_max
        if member is None and request.member_id not in self.pending:
            has_room = has_room and len(self.pending) < members_max
        if not has_room:
            raise errors.group_is_full(self._group, f"it may have {members_max} members")

    def check_metadata(self, request: JoinGroup, config: GroupsConfig) -> None:
        """Raises Overloaded(GROUP_MAX_SIZE_REACHED) where all members' metadata would be too much."""
        member = self._same_member(request)
        metadata_bytes = sum(each.metadata_bytes for each in self._members.values() if each is not member)
        metadata_bytes += sum(len(each.name) + len(each.metadata) for each in request.protocols)
        if metadata_bytes > config.metadata_bytes_max:
            limit = f"the metadata of all members may have {config.metadata_bytes_max} bytes"
            raise errors.group_is_full(self._group, limit)

    def _same_member(self, request: JoinGroup) -> Member | None:
        if request.group_instance_id is not None:
            return self.static_member(request.group_instance_id)
        return self.get(request.member_id)

    def elect_joined_leader(self) -> bool:
        """The leader must be one that joined; False where nobody did."""
        leader = self._members.get(self.leader)
        if leader is not None and leader.join_ticket is not None:
            return True
        for member in self._members.values():
            if member.join_ticket is not None:
                self.leader = member.member_id
                return True
        return False

    def supports(self, protocol_type: str, protocols: tuple[GroupProtocol, ...]) -> bool:
        """Whether one of these protocols is supported by every present member."""
        if not protocol_type or not protocols:
            return False
        if not self._members:
            return True
        offered = {each.name for each in protocols}
        return protocol_type == self.protocol_type and not offered.isdisjoint(self._shared())

    def select_protocol(self) -> str:
        """The winner of the vote; among equals the one that was voted for first."""
        shared = self._shared()
        votes = Counter(
            next(each.name for each in member.protocols if each.name in shared)
            for member in self._members.values()
        )
        return votes.most_common(1)[0][0]

    def record(
        self, *, generation: int, protocol: str, assignments: Mapping[MemberId, bytes] | None = None
    ) -> GroupRecord:
        """The group as it is stored, with these assignments, else those that the members have."""
        return GroupRecord(
            generation=generation,
            protocol_type=self.protocol_type,
            protocol=protocol,
            leader=self.leader,
            members=tuple(
                member.described(
                    member.protocols,
                    member.assignment if assignments is None else assignments.get(member.member_id, b""),
                )
                for member in self._members.values()
            ),
        )

    def described(self, protocol: str) -> tuple[GroupMember, ...]:
        """The members with their part of this protocol; without any where it is empty."""
        return tuple(
            member.described(
                tuple(each for each in member.protocols if each.name == protocol),
                member.assignment if protocol else b"",
            )
            for member in self._members.values()
        )

    def joined_members(self, protocol: str) -> tuple[JoinedMember, ...]:
        return tuple(
            JoinedMember(
                member_id=member.member_id,
                group_instance_id=member.group_instance_id,
                metadata=member.metadata_of(protocol),
            )
            for member in self._members.values()
        )

    def _shared(self) -> set[str]:
        names = [{each.name for each in member.protocols} for member in self._members.values()]
        return set.intersection(*names)
