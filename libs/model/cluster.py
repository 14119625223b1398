"""What a cluster is made of, as gateways and owners see it: topics, owners, gateways, replicas, assignments.

Owns: the values that metadata's watch carries. Does not own: how they are stored or sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

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
)

_LOG_START = Offset(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    name: TopicName
    topic_id: TopicId
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict)
    live: bool = True
    """False while its assignments are still being written."""
    created_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    owner_id: OwnerId
    address: str
    """host:port of its internal RPC."""
    zone: str
    session: SessionId
    draining: bool = False
    control_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    gateway_id: GatewayId
    broker_id: BrokerId
    host: str
    port: int
    zone: str = ""
    control_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    replica_id: ReplicaId
    address: str
    zone: str
    session: SessionId
    """One life of the replica as a coordinator of groups."""


class AssignmentState(Enum):
    ASSIGNED = "assigned"
    RELEASING = "releasing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """A life that may still write: sealed or released before anyone opens the partition after it."""

    session: SessionId
    leader_epoch: LeaderEpoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    topic_id: TopicId
    partition: Partition
    owner_id: OwnerId
    session: SessionId
    leader_epoch: LeaderEpoch
    state: AssignmentState = AssignmentState.ASSIGNED
    predecessors: tuple[Predecessor, ...] = ()
    target_owner_id: OwnerId | None = None
    """While releasing: who is meant to have it next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainPosition:
    """Where in one session's chain the records of a partition under one epoch are: [from_seq, to_seq)."""

    session: SessionId
    leader_epoch: LeaderEpoch
    from_seq: ChainSeq
    to_seq: ChainSeq | None
    """None while the position is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    log_start_offset: Offset = _LOG_START
    manifest_key: str = ""
    positions: tuple[ChainPosition, ...] = ()
    released_offset: Offset | None = None
