"""The store's values as model values, with the revision that guards their change.

Owns: bytes <-> values of libs/model/cluster.py. Does not own: the messages' fields (libs/clients/convert.py).
Errors: Corrupt where bytes are no such message.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from libs.clients import convert
from libs.model.cluster import Assignment, Gateway, Owner, PartitionState, Replica, Topic
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, OwnerId, ReplicaId, Revision, SessionId
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys
from services.metadata.kv.port import KeyValue, LeaseId

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Generic[T]):
    """A value, its key's mod revision, and the lease that holds it."""

    value: T
    revision: Revision
    lease_id: LeaseId | None = None


class SessionState(Enum):
    LIVE = "live"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    session: SessionId
    owner_id: OwnerId
    in_flight_max: int
    state: SessionState
    sealed_at: ChainSeq | None = None
    """Where a sealed one's chain ends."""
    draining: bool = False
    """Kept here too, so that an owner whose lease lapsed while it drained goes on draining."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerRecord:
    replica_id: ReplicaId
    session: SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedTopic:
    topic: Topic
    deleted_ms: int
    partitions_removed: bool
    """Its assignments and partition states are gone; only its objects are left."""


def parse(message: type[M], item: KeyValue) -> M:
    """Raises Corrupt where the value is no such message."""
    try:
        return message.FromString(item.value)
    except DecodeError as error:
        raise Corrupt(f"the value of {item.key} is no {message.DESCRIPTOR.full_name}") from error


def _stored(item: KeyValue, value: T) -> Stored[T]:
    return Stored(value=value, revision=item.mod_revision, lease_id=item.lease_id)


def _reader(message: type[M], read: Callable[[M], T]) -> Callable[[KeyValue], Stored[T]]:
    return lambda item: _stored(item, read(parse(message, item)))


topic = _reader(messages.TopicConfig, convert.topic)
owner = _reader(messages.OwnerRegistration, convert.owner)
gateway = _reader(messages.GatewayRegistration, convert.gateway)
replica = _reader(messages.ReplicaRegistration, convert.replica)
partition_state = _reader(messages.PartitionState, convert.partition_state)


def assignment(item: KeyValue) -> Stored[Assignment]:
    at = keys.topic_partition_of(item.key)
    return _stored(item, convert.assignment(at, parse(messages.Assignment, item)))


def session(item: KeyValue) -> Stored[SessionRecord]:
    message = parse(messages.SessionRecord, item)
    sealed = message.state == messages.SessionRecord.SEALED
    return _stored(
        item,
        SessionRecord(
            session=convert.session_id(message.session),
            owner_id=OwnerId(message.owner),
            in_flight_max=message.in_flight_max,
            state=SessionState.SEALED if sealed else SessionState.LIVE,
            sealed_at=ChainSeq(message.sealed_at) if sealed else None,
            draining=message.draining,
        ),
    )


def controller(item: KeyValue) -> Stored[ControllerRecord]:
    message = parse(messages.ControllerRecord, item)
    record = ControllerRecord(
        replica_id=ReplicaId(message.replica), session=convert.session_id(message.session)
    )
    return _stored(item, record)


def deleted_topic(item: KeyValue) -> Stored[DeletedTopic]:
    message = parse(messages.DeletedTopic, item)
    deleted = DeletedTopic(
        topic=convert.topic(message.topic),
        deleted_ms=message.deleted_ms,
        partitions_removed=message.partitions_removed,
    )
    return _stored(item, deleted)


def topic_bytes(value: Topic) -> bytes:
    return convert.topic_message(value).SerializeToString(deterministic=True)


def owner_bytes(value: Owner) -> bytes:
    return convert.owner_message(value).SerializeToString()


def gateway_bytes(value: Gateway) -> bytes:
    return convert.gateway_message(value).SerializeToString()


def replica_bytes(value: Replica) -> bytes:
    return convert.replica_message(value).SerializeToString()


def assignment_bytes(value: Assignment) -> bytes:
    return convert.assignment_message(value).SerializeToString()


def partition_state_bytes(value: PartitionState) -> bytes:
    return convert.partition_state_message(value).SerializeToString()


def session_bytes(value: SessionRecord) -> bytes:
    sealed = value.state is SessionState.SEALED
    return messages.SessionRecord(
        session=value.session.bytes,
        owner=value.owner_id,
        in_flight_max=value.in_flight_max,
        state=messages.SessionRecord.SEALED if sealed else messages.SessionRecord.LIVE,
        sealed_at=value.sealed_at or 0,
        draining=value.draining,
    ).SerializeToString()


def controller_bytes(value: ControllerRecord) -> bytes:
    return messages.ControllerRecord(
        replica=value.replica_id, session=value.session.bytes
    ).SerializeToString()


def deleted_topic_bytes(value: DeletedTopic) -> bytes:
    return messages.DeletedTopic(
        topic=convert.topic_message(value.topic),
        deleted_ms=value.deleted_ms,
        partitions_removed=value.partitions_removed,
    ).SerializeToString(deterministic=True)
