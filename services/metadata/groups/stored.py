"""The stored forms of groups and committed offsets: proto/metadata Group and CommittedOffset <-> values.

Owns: both directions. Errors: Corrupt where stored bytes can't be what their key claims.
"""

from dataclasses import dataclass
from uuid import UUID

from google.protobuf.message import DecodeError

from libs.clients import group_codec
from libs.clients.group_types import GroupRecord, OffsetCommit
from libs.model.errors import Corrupt
from libs.model.ids import LeaderEpoch, Offset, ReplicaId, SessionId
from proto.metadata import metadata_pb2 as messages
from services.metadata.groups.keys import partition_of_key
from services.metadata.kv.port import KeyValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Which life of which replica serves the group; no two claims of a group have the same number."""

    replica_id: ReplicaId
    session: SessionId
    number: int


def encode_group(record: GroupRecord, claim: Claim) -> bytes:
    message = group_codec.record_message(record)
    message.coordinator = claim.replica_id
    message.coordinator_session = claim.session.bytes
    message.claim = claim.number
    return message.SerializeToString()


def decode_group(item: KeyValue) -> tuple[GroupRecord, Claim]:
    message = messages.Group()
    try:
        message.ParseFromString(item.value)
        session = SessionId(UUID(bytes=message.coordinator_session))
    except (DecodeError, ValueError) as error:
        raise Corrupt(f"the value of {item.key!r} is no group") from error
    claim = Claim(replica_id=ReplicaId(message.coordinator), session=session, number=message.claim)
    return group_codec.record(message), claim


def encode_offset(commit: OffsetCommit, *, committed_ms: int) -> bytes:
    return messages.CommittedOffset(
        offset=commit.offset,
        leader_epoch=commit.leader_epoch,
        metadata=commit.metadata,
        committed_ms=committed_ms,
    ).SerializeToString()


def decode_offset(item: KeyValue) -> OffsetCommit:
    message = messages.CommittedOffset()
    try:
        message.ParseFromString(item.value)
    except DecodeError as error:
        raise Corrupt(f"the value of {item.key!r} is no committed offset") from error
    return OffsetCommit(
        at=partition_of_key(item.key),
        offset=Offset(message.offset),
        leader_epoch=LeaderEpoch(message.leader_epoch),
        metadata=message.metadata,
        committed_ms=message.committed_ms,
    )
