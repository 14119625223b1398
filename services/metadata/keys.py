"""Every key of the metadata store, spelled once (design section 4).

Owns: the names below the cluster's prefix. Does not own: the prefix (the adapter's), the values (stored.py),
what is below GROUPS and OFFSETS (groups/keys.py).
Rules: 1 partitions and sessions are keyed by id, so that a recreated name finds nothing (promise 8).
"""

from uuid import UUID

from libs.model.errors import Corrupt
from libs.model.ids import (
    BrokerId,
    GatewayId,
    OwnerId,
    Partition,
    ReplicaId,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)

CLUSTER = "cluster"
CONTROLLER = "controller"
PRODUCER_IDS = "producer_ids/next"

TOPICS = "topics/"
DELETING = "deleting/"
OWNERS = "owners/"
SESSIONS = "sessions/"
GATEWAYS = "gateways/"
BROKER_IDS = "broker_ids/"
REPLICAS = "replicas/"
ASSIGNMENTS = "assignments/"
PARTITIONS = "partitions/"
GROUPS = "groups/"
OFFSETS = "offsets/"


def topic(name: TopicName) -> str:
    return TOPICS + name


def deleting(topic_id: TopicId) -> str:
    return f"{DELETING}{topic_id}"


def owner(owner_id: OwnerId) -> str:
    return OWNERS + owner_id


def session(session_id: SessionId) -> str:
    return f"{SESSIONS}{session_id}"


def gateway(gateway_id: GatewayId) -> str:
    return GATEWAYS + gateway_id


def broker_id(value: BrokerId) -> str:
    return f"{BROKER_IDS}{value}"


def replica(replica_id: ReplicaId) -> str:
    return REPLICAS + replica_id


def assignments_of(topic_id: TopicId) -> str:
    """The prefix of a topic's assignments."""
    return f"{ASSIGNMENTS}{topic_id}/"


def assignment(at: TopicPartition) -> str:
    return f"{assignments_of(at.topic_id)}{at.partition}"


def partitions_of(topic_id: TopicId) -> str:
    """The prefix of the states of a topic's partitions."""
    return f"{PARTITIONS}{topic_id}/"


def partition(at: TopicPartition) -> str:
    return f"{partitions_of(at.topic_id)}{at.partition}"


def topic_partition_of(key: str) -> TopicPartition:
    """The partition that a key of ASSIGNMENTS or PARTITIONS ends with. Raises Corrupt."""
    try:
        _, topic_id, index = key.rsplit("/", 2)
        return TopicPartition(TopicId(UUID(topic_id)), Partition(int(index)))
    except ValueError as error:
        raise Corrupt(f"the store holds a key that names no partition: {key}") from error


def last_id_of(key: str) -> UUID:
    """The id that a key of DELETING or SESSIONS ends with. Raises Corrupt."""
    try:
        return UUID(key.rsplit("/", 1)[1])
    except (ValueError, IndexError) as error:
        raise Corrupt(f"the store holds a key that names no id: {key}") from error
