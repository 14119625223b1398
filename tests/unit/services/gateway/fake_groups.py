"""A GroupsClient for tests: remembers what it was asked, answers what it is told to."""

from collections.abc import Sequence
from typing import Any

from libs.clients.group_types import (
    CommitOffsets,
    GroupDescription,
    GroupMember,
    GroupPhase,
    GroupProtocol,
    GroupRecord,
    Heartbeat,
    JoinedMember,
    JoinGroup,
    JoinGroupReply,
    LeaveGroup,
    LeftMember,
    ListedGroup,
    OffsetCommit,
    SyncGroup,
    SyncGroupReply,
)
from libs.model.errors import Fenced, KafscaleError, NotFound, Reason
from libs.model.ids import GroupId, MemberId, TopicPartition

METADATA = b"\x00\x01metadata\xff"
ASSIGNMENT = b"\x00\x01assignment\xfe"


class FakeGroups:
    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.error: KafscaleError | None = None
        self.partition_errors: dict[TopicPartition, KafscaleError] = {}
        self.offsets: dict[TopicPartition, OffsetCommit] = {}

    def _hear(self, request: Any) -> None:
        self.asked.append(request)
        if self.error is not None:
            raise self.error

    async def join(self, request: JoinGroup) -> JoinGroupReply:
        self._hear(request)
        member_id = MemberId(request.member_id or "member-1")
        if request.require_known_member_id and not request.member_id:
            return JoinGroupReply(
                member_id=member_id, error=Fenced("as member-1", reason=Reason.MEMBER_ID_REQUIRED)
            )
        return JoinGroupReply(
            member_id=member_id,
            generation=3,
            protocol_type=request.protocol_type,
            protocol=request.protocols[0].name if request.protocols else "",
            leader=member_id,
            members=(JoinedMember(member_id=member_id, group_instance_id=None, metadata=METADATA),),
        )

    async def sync(self, request: SyncGroup) -> SyncGroupReply:
        self._hear(request)
        return SyncGroupReply(protocol_type="consumer", protocol="range", assignment=ASSIGNMENT)

    async def heartbeat(self, request: Heartbeat) -> None:
        self._hear(request)

    async def leave(self, request: LeaveGroup) -> tuple[LeftMember, ...]:
        self._hear(request)
        return tuple(
            LeftMember(
                member_id=each.member_id,
                group_instance_id=each.group_instance_id,
                error=None
                if each.member_id != "unknown"
                else NotFound("who?", reason=Reason.UNKNOWN_MEMBER_ID),
            )
            for each in request.members
        )

    async def commit(self, request: CommitOffsets) -> tuple[KafscaleError | None, ...]:
        self._hear(request)
        for each in request.offsets:
            if each.at not in self.partition_errors:
                self.offsets[each.at] = each
        return tuple(self.partition_errors.get(each.at) for each in request.offsets)

    async def fetch_offsets(
        self, group: GroupId, partitions: Sequence[TopicPartition] | None
    ) -> dict[TopicPartition, OffsetCommit]:
        self._hear((group, partitions))
        wanted = self.offsets if partitions is None else partitions
        return {at: self.offsets[at] for at in wanted if at in self.offsets}

    async def describe(self, group: GroupId) -> GroupDescription:
        self._hear(group)
        if group == "nobody":
            raise NotFound("no such group", reason=Reason.GROUP_ID_NOT_FOUND)
        member = GroupMember(
            member_id=MemberId("member-1"),
            client_id="c",
            client_host="/127.0.0.1",
            session_timeout_ms=10_000,
            rebalance_timeout_ms=60_000,
            protocols=(GroupProtocol(name="range", metadata=METADATA),),
            assignment=ASSIGNMENT,
        )
        record = GroupRecord(
            generation=3,
            protocol_type="consumer",
            protocol="range",
            leader=member.member_id,
            members=(member,),
        )
        return GroupDescription(group=group, phase=GroupPhase.STABLE, record=record)

    async def delete(self, group: GroupId) -> None:
        self._hear(group)

    async def list_groups(self) -> tuple[ListedGroup, ...]:
        self._hear(None)
        return (
            ListedGroup(group=GroupId("a"), protocol_type="consumer", phase=GroupPhase.STABLE),
            ListedGroup(group=GroupId("b"), protocol_type="", phase=GroupPhase.EMPTY),
        )
