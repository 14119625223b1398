"""Values of libs/model/cluster.py <-> the messages of proto/metadata.

Owns: both directions, once. Errors: Corrupt where a message can't be what it claims to be.
"""

from uuid import UUID

from libs.model.cluster import (
    Assignment,
    AssignmentState,
    ChainPosition,
    Gateway,
    Owner,
    PartitionState,
    Predecessor,
    Replica,
    Topic,
)
from libs.model.errors import Corrupt
from libs.model.ids import (
    BrokerId,
    ChainSeq,
    GatewayId,
    LeaderEpoch,
    Offset,
    OwnerId,
    Partition,
    ReplicaId,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)
from proto.metadata import metadata_pb2 as stored

_NOT_RELEASED = -1


def _uuid(raw: bytes) -> UUID:
    if len(raw) != 16:
        raise Corrupt(f"an id of {len(raw)} bytes in a metadata message; ids have 16")
    return UUID(bytes=raw)


def topic_id(raw: bytes) -> TopicId:
    return TopicId(_uuid(raw))


def session_id(raw: bytes) -> SessionId:
    return SessionId(_uuid(raw))


def topic(message: stored.TopicConfig) -> Topic:
    return Topic(
        name=TopicName(message.name),
        topic_id=topic_id(message.topic_id),
        partitions=message.partitions,
        configs=dict(message.configs),
        live=message.state == stored.TopicConfig.LIVE,
        created_ms=message.created_ms,
    )


def topic_message(value: Topic) -> stored.TopicConfig:
    return stored.TopicConfig(
        name=value.name,
        topic_id=value.topic_id.bytes,
        partitions=value.partitions,
        configs=dict(value.configs),
        state=stored.TopicConfig.LIVE if value.live else stored.TopicConfig.CREATING,
        created_ms=value.created_ms,
    )


def owner(message: stored.OwnerRegistration) -> Owner:
    return Owner(
        owner_id=OwnerId(message.owner),
        address=message.address,
        zone=message.zone,
        session=session_id(message.session),
        draining=message.draining,
        control_address=message.control_address,
    )


def owner_message(value: Owner) -> stored.OwnerRegistration:
    return stored.OwnerRegistration(
        owner=value.owner_id,
        address=value.address,
        zone=value.zone,
        session=value.session.bytes,
        draining=value.draining,
        control_address=value.control_address,
    )


def gateway(message: stored.GatewayRegistration) -> Gateway:
    return Gateway(
        gateway_id=GatewayId(message.gateway),
        broker_id=BrokerId(message.broker_id),
        host=message.host,
        port=message.port,
        zone=message.zone,
        control_address=message.control_address,
    )


def gateway_message(value: Gateway) -> stored.GatewayRegistration:
    return stored.GatewayRegistration(
        gateway=value.gateway_id,
        broker_id=value.broker_id,
        host=value.host,
        port=value.port,
        zone=value.zone,
        control_address=value.control_address,
    )


def replica(message: stored.ReplicaRegistration) -> Replica:
    return Replica(
        replica_id=ReplicaId(message.replica),
        address=message.address,
        zone=message.zone,
        session=session_id(message.session),
    )


def replica_message(value: Replica) -> stored.ReplicaRegistration:
    return stored.ReplicaRegistration(
        replica=value.replica_id, address=value.address, zone=value.zone, session=value.session.bytes
    )


def assignment(at: TopicPartition, message: stored.Assignment) -> Assignment:
    releasing = message.state == stored.Assignment.RELEASING
    return Assignment(
        topic_id=at.topic_id,
        partition=at.partition,
        owner_id=OwnerId(message.owner),
        session=session_id(message.session),
        leader_epoch=LeaderEpoch(message.leader_epoch),
        state=AssignmentState.RELEASING if releasing else AssignmentState.ASSIGNED,
        predecessors=tuple(
            Predecessor(session=session_id(each.session), leader_epoch=LeaderEpoch(each.leader_epoch))
            for each in message.predecessors
        ),
        target_owner_id=OwnerId(message.target_owner) if message.target_owner else None,
    )


def assignment_message(value: Assignment) -> stored.Assignment:
    releasing = value.state is AssignmentState.RELEASING
    return stored.Assignment(
        owner=value.owner_id,
        session=value.session.bytes,
        leader_epoch=value.leader_epoch,
        state=stored.Assignment.RELEASING if releasing else stored.Assignment.ASSIGNED,
        predecessors=[
            stored.Predecessor(session=each.session.bytes, leader_epoch=each.leader_epoch)
            for each in value.predecessors
        ],
        target_owner=value.target_owner_id or "",
    )


def partition_state(message: stored.PartitionState) -> PartitionState:
    released = message.released_offset
    return PartitionState(
        log_start_offset=Offset(message.log_start_offset),
        manifest_key=message.manifest_key,
        positions=tuple(
            ChainPosition(
                session=session_id(each.session),
                leader_epoch=LeaderEpoch(each.leader_epoch),
                from_seq=ChainSeq(each.from_seq),
                to_seq=None if each.open else ChainSeq(each.to_seq),
            )
            for each in message.positions
        ),
        released_offset=None if released == _NOT_RELEASED else Offset(released),
    )


def partition_state_message(value: PartitionState) -> stored.PartitionState:
    return stored.PartitionState(
        log_start_offset=value.log_start_offset,
        manifest_key=value.manifest_key,
        positions=[
            stored.ChainPosition(
                session=each.session.bytes,
                leader_epoch=each.leader_epoch,
                from_seq=each.from_seq,
                to_seq=each.to_seq or 0,
                open=each.to_seq is None,
            )
            for each in value.positions
        ],
        released_offset=_NOT_RELEASED if value.released_offset is None else value.released_offset,
    )


def topic_partition(raw_topic_id: bytes, index: int) -> TopicPartition:
    return TopicPartition(topic_id(raw_topic_id), Partition(index))
