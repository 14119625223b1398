"""What gateways and coordinators say to each other about consumer groups, as plain values.

Owns: requests and replies of the classic group protocol (https://kafka.apache.org/protocol.html, JoinGroup
to OffsetFetch). Does not own: their encoding (group_codec.py).
Rules: 1 metadata and assignments of members are opaque bytes, carried through as they are; 2 an empty member
id means that the caller has none; 3 `group_instance_id` is None for dynamic members (KIP-345).
"""

from dataclasses import dataclass
from enum import StrEnum

from libs.model.errors import KafscaleError
from libs.model.ids import GroupId, LeaderEpoch, MemberId, Offset, TopicPartition

NO_MEMBER = MemberId("")
NO_GENERATION = -1
NO_LEADER_EPOCH = LeaderEpoch(-1)


class GroupPhase(StrEnum):
    """Kafka's names of the states of a group."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupProtocol:
    name: str
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinGroup:
    group: GroupId
    member_id: MemberId = NO_MEMBER
    group_instance_id: str | None = None
    protocol_type: str
    protocols: tuple[GroupProtocol, ...]
    session_timeout_ms: int
    rebalance_timeout_ms: int
    client_id: str = ""
    client_host: str = ""
    require_known_member_id: bool = False
    """KIP-394: a new dynamic member is told its id before it joins (JoinGroup 4 and up)."""
    reason: str = ""
    supports_skip_assignment: bool = False
    """KIP-814 (JoinGroup 9 and up)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedMember:
    member_id: MemberId
    group_instance_id: str | None
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinGroupReply:
    member_id: MemberId
    generation: int = NO_GENERATION
    protocol_type: str = ""
    protocol: str = ""
    leader: MemberId = NO_MEMBER
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()
    """Only to the leader."""
    error: KafscaleError | None = None
    """Only Fenced(MEMBER_ID_REQUIRED), beside the id to join with; every other error is raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAssignment:
    member_id: MemberId
    assignment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncGroup:
    group: GroupId
    member_id: MemberId
    group_instance_id: str | None = None
    generation: int
    protocol_type: str = ""
    """Empty: not given (before SyncGroup 5); `protocol` likewise."""
    protocol: str = ""
    assignments: tuple[MemberAssignment, ...] = ()
    """From the leader only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncGroupReply:
    protocol_type: str
    protocol: str
    assignment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    group: GroupId
    member_id: MemberId
    group_instance_id: str | None = None
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeavingMember:
    """An administrator removes a static member by its instance id alone."""

    member_id: MemberId = NO_MEMBER
    group_instance_id: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveGroup:
    group: GroupId
    members: tuple[LeavingMember, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftMember:
    member_id: MemberId
    group_instance_id: str | None
    error: KafscaleError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommit:
    at: TopicPartition
    offset: Offset
    leader_epoch: LeaderEpoch = NO_LEADER_EPOCH
    metadata: str = ""
    committed_ms: int = 0
    """Wall time of the commit as the coordinator saw it; what a caller fills in is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOffsets:
    group: GroupId
    member_id: MemberId = NO_MEMBER
    group_instance_id: str | None = None
    generation: int = NO_GENERATION
    offsets: tuple[OffsetCommit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember:
    """A member as it is stored and described."""

    member_id: MemberId
    group_instance_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[GroupProtocol, ...]
    assignment: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """A group after a completed rebalance: what a new coordinator needs to go on without another one."""

    generation: int = 0
    protocol_type: str = ""
    protocol: str = ""
    leader: MemberId = NO_MEMBER
    members: tuple[GroupMember, ...] = ()
    empty_since_ms: int = 0
    """Wall time since when it has had no members; 0 while it has some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDescription:
    group: GroupId
    phase: GroupPhase
    record: GroupRecord
    """Protocol, metadata and assignments are only there while the group is stable, as in Kafka."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedGroup:
    group: GroupId
    protocol_type: str
    phase: GroupPhase
