"""Values of group_types.py <-> the messages of proto/metadata_api and proto/metadata.

Owns: both directions of every group call, used by the client and by the coordinator's RPC door.
Rules: 1 an error of the whole call travels in the reply's `error` field.
"""

from libs.clients import convert
from libs.clients.errors import from_proto, to_proto
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
    LeavingMember,
    LeftMember,
    ListedGroup,
    MemberAssignment,
    OffsetCommit,
    SyncGroup,
    SyncGroupReply,
)
from libs.model.errors import Corrupt
from libs.model.ids import GroupId, LeaderEpoch, MemberId, Offset, TopicPartition
from proto.metadata import metadata_pb2 as stored
from proto.metadata_api import metadata_api_pb2 as api


def _protocols(messages: "list[stored.GroupProtocol]") -> tuple[GroupProtocol, ...]:
    return tuple(GroupProtocol(name=each.name, metadata=each.metadata) for each in messages)


def _protocol_messages(values: tuple[GroupProtocol, ...]) -> list[stored.GroupProtocol]:
    return [stored.GroupProtocol(name=each.name, metadata=each.metadata) for each in values]


def join_message(value: JoinGroup) -> api.JoinGroupRequest:
    return api.JoinGroupRequest(
        group=value.group,
        member_id=value.member_id,
        group_instance_id=value.group_instance_id or "",
        protocol_type=value.protocol_type,
        protocols=_protocol_messages(value.protocols),
        session_timeout_ms=max(value.session_timeout_ms, 0),
        rebalance_timeout_ms=max(value.rebalance_timeout_ms, 0),
        client_id=value.client_id,
        client_host=value.client_host,
        require_known_member_id=value.require_known_member_id,
        reason=value.reason,
        supports_skip_assignment=value.supports_skip_assignment,
    )


def join(message: api.JoinGroupRequest) -> JoinGroup:
    return JoinGroup(
        group=GroupId(message.group),
        member_id=MemberId(message.member_id),
        group_instance_id=message.group_instance_id or None,
        protocol_type=message.protocol_type,
        protocols=_protocols(list(message.protocols)),
        session_timeout_ms=message.session_timeout_ms,
        rebalance_timeout_ms=message.rebalance_timeout_ms,
        client_id=message.client_id,
        client_host=message.client_host,
        require_known_member_id=message.require_known_member_id,
        reason=message.reason,
        supports_skip_assignment=message.supports_skip_assignment,
    )


def join_reply_message(value: JoinGroupReply) -> api.JoinGroupReply:
    return api.JoinGroupReply(
        error=None if value.error is None else to_proto(value.error),
        generation=value.generation,
        protocol_type=value.protocol_type,
        protocol=value.protocol,
        leader=value.leader,
        skip_assignment=value.skip_assignment,
        member_id=value.member_id,
        members=[
            api.JoinedMember(
                member_id=each.member_id,
                group_instance_id=each.group_instance_id or "",
                metadata=each.metadata,
            )
            for each in value.members
        ],
    )


def join_reply(message: api.JoinGroupReply) -> JoinGroupReply:
    return JoinGroupReply(
        error=from_proto(message.error),
        generation=message.generation,
        protocol_type=message.protocol_type,
        protocol=message.protocol,
        leader=MemberId(message.leader),
        skip_assignment=message.skip_assignment,
        member_id=MemberId(message.member_id),
        members=tuple(
            JoinedMember(
                member_id=MemberId(each.member_id),
                group_instance_id=each.group_instance_id or None,
                metadata=each.metadata,
            )
            for each in message.members
        ),
    )


def sync_message(value: SyncGroup) -> api.SyncGroupRequest:
    return api.SyncGroupRequest(
        group=value.group,
        member_id=value.member_id,
        group_instance_id=value.group_instance_id or "",
        generation=value.generation,
        protocol_type=value.protocol_type,
        protocol=value.protocol,
        assignments=[
            api.MemberAssignment(member_id=each.member_id, assignment=each.assignment)
            for each in value.assignments
        ],
    )


def sync(message: api.SyncGroupRequest) -> SyncGroup:
    return SyncGroup(
        group=GroupId(message.group),
        member_id=MemberId(message.member_id),
        group_instance_id=message.group_instance_id or None,
        generation=message.generation,
        protocol_type=message.protocol_type,
        protocol=message.protocol,
        assignments=tuple(
            MemberAssignment(member_id=MemberId(each.member_id), assignment=each.assignment)
            for each in message.assignments
        ),
    )


def sync_reply_message(value: SyncGroupReply) -> api.SyncGroupReply:
    return api.SyncGroupReply(
        protocol_type=value.protocol_type, protocol=value.protocol, assignment=value.assignment
    )


def sync_reply(message: api.SyncGroupReply) -> SyncGroupReply:
    return SyncGroupReply(
        protocol_type=message.protocol_type, protocol=message.protocol, assignment=message.assignment
    )


def heartbeat_message(value: Heartbeat) -> api.HeartbeatRequest:
    return api.HeartbeatRequest(
        group=value.group,
        member_id=value.member_id,
        group_instance_id=value.group_instance_id or "",
        generation=value.generation,
    )


def heartbeat(message: api.HeartbeatRequest) -> Heartbeat:
    return Heartbeat(
        group=GroupId(message.group),
        member_id=MemberId(message.member_id),
        group_instance_id=message.group_instance_id or None,
        generation=message.generation,
    )


def leave_message(value: LeaveGroup) -> api.LeaveGroupRequest:
    return api.LeaveGroupRequest(
        group=value.group,
        members=[
            api.LeavingMember(
                member_id=each.member_id, group_instance_id=each.group_instance_id or "", reason=each.reason
            )
            for each in value.members
        ],
    )


def leave(message: api.LeaveGroupRequest) -> LeaveGroup:
    return LeaveGroup(
        group=GroupId(message.group),
        members=tuple(
            LeavingMember(
                member_id=MemberId(each.member_id),
                group_instance_id=each.group_instance_id or None,
                reason=each.reason,
            )
            for each in message.members
        ),
    )


def left_member_message(value: LeftMember) -> api.LeftMember:
    return api.LeftMember(
        error=None if value.error is None else to_proto(value.error),
        member_id=value.member_id,
        group_instance_id=value.group_instance_id or "",
    )


def left_member(message: api.LeftMember) -> LeftMember:
    return LeftMember(
        error=from_proto(message.error),
        member_id=MemberId(message.member_id),
        group_instance_id=message.group_instance_id or None,
    )


def offset_message(value: OffsetCommit) -> api.OffsetCommit:
    return api.OffsetCommit(
        topic_id=value.at.topic_id.bytes,
        partition=value.at.partition,
        offset=stored.CommittedOffset(
            offset=value.offset,
            leader_epoch=value.leader_epoch,
            metadata=value.metadata,
            committed_ms=value.committed_ms,
        ),
    )


def offset(message: api.OffsetCommit) -> OffsetCommit:
    return OffsetCommit(
        at=convert.topic_partition(message.topic_id, message.partition),
        offset=Offset(message.offset.offset),
        leader_epoch=LeaderEpoch(message.offset.leader_epoch),
        metadata=message.offset.metadata,
        committed_ms=message.offset.committed_ms,
    )


def commit_message(value: CommitOffsets) -> api.CommitOffsetsRequest:
    return api.CommitOffsetsRequest(
        group=value.group,
        member_id=value.member_id,
        group_instance_id=value.group_instance_id or "",
        generation=value.generation,
        offsets=[offset_message(each) for each in value.offsets],
    )


def commit(message: api.CommitOffsetsRequest) -> CommitOffsets:
    return CommitOffsets(
        group=GroupId(message.group),
        member_id=MemberId(message.member_id),
        group_instance_id=message.group_instance_id or None,
        generation=message.generation,
        offsets=tuple(offset(each) for each in message.offsets),
    )


def partition_message(value: TopicPartition) -> api.TopicPartitionEntry:
    return api.TopicPartitionEntry(topic_id=value.topic_id.bytes, partition=value.partition)


def partition(message: api.TopicPartitionEntry) -> TopicPartition:
    return convert.topic_partition(message.topic_id, message.partition)


def record_message(value: GroupRecord) -> stored.Group:
    """Without the coordinator's claim."""
    return stored.Group(
        generation=value.generation,
        protocol_type=value.protocol_type,
        protocol=value.protocol,
        leader=value.leader,
        members=[
            stored.GroupMember(
                member_id=each.member_id,
                group_instance_id=each.group_instance_id or "",
                client_id=each.client_id,
                client_host=each.client_host,
                session_timeout_ms=each.session_timeout_ms,
                rebalance_timeout_ms=each.rebalance_timeout_ms,
                protocols=_protocol_messages(each.protocols),
                assignment=each.assignment,
            )
            for each in value.members
        ],
        empty_since_ms=value.empty_since_ms,
    )


def record(message: stored.Group) -> GroupRecord:
    return GroupRecord(
        generation=message.generation,
        protocol_type=message.protocol_type,
        protocol=message.protocol,
        leader=MemberId(message.leader),
        members=tuple(
            GroupMember(
                member_id=MemberId(each.member_id),
                group_instance_id=each.group_instance_id or None,
                client_id=each.client_id,
                client_host=each.client_host,
                session_timeout_ms=each.session_timeout_ms,
                rebalance_timeout_ms=each.rebalance_timeout_ms,
                protocols=_protocols(list(each.protocols)),
                assignment=each.assignment,
            )
            for each in message.members
        ),
        empty_since_ms=message.empty_since_ms,
    )


def description_message(value: GroupDescription) -> api.DescribeGroupReply:
    return api.DescribeGroupReply(state=value.phase.value, group=record_message(value.record))


def description(group: GroupId, message: api.DescribeGroupReply) -> GroupDescription:
    return GroupDescription(group=group, phase=_phase(message.state), record=record(message.group))


def listed_message(value: ListedGroup) -> api.ListedGroup:
    return api.ListedGroup(group=value.group, protocol_type=value.protocol_type, state=value.phase.value)


def listed(message: api.ListedGroup) -> ListedGroup:
    return ListedGroup(
        group=GroupId(message.group), protocol_type=message.protocol_type, phase=_phase(message.state)
    )


def _phase(name: str) -> GroupPhase:
    try:
        return GroupPhase(name)
    except ValueError as error:
        raise Corrupt(f"{name!r} is no state of a group") from error
