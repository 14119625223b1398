"""Identifiers and small values that every service shares.

Owns: the names of things on the wire and in stores, as types. Does not own: how they are encoded.
"""

from typing import NamedTuple, NewType
from uuid import UUID

TopicId = NewType("TopicId", UUID)
"""A topic's identity for ever; a recreated name gets a new one (promise 8)."""

TopicName = NewType("TopicName", str)

Partition = NewType("Partition", int)
"""Index of a partition in its topic, from 0."""

Offset = NewType("Offset", int)
"""Position of a record in its partition, from 0."""

LeaderEpoch = NewType("LeaderEpoch", int)
"""Grows by at least one whenever a partition changes owner."""

SessionId = NewType("SessionId", UUID)
"""One life of one owner process; names its chain of WAL objects."""

StoreId = NewType("StoreId", UUID)
"""Which object store it is, bucket and namespace; a copy of it has the same."""

ChainSeq = NewType("ChainSeq", int)
"""Position of an object in its session's chain, from 0."""

OwnerId = NewType("OwnerId", str)
"""Stable name of a partition owner (a pod's name)."""

GatewayId = NewType("GatewayId", str)
"""Stable name of a gateway (a pod's name)."""

ReplicaId = NewType("ReplicaId", str)
"""Stable name of a metadata replica (a pod's name)."""

BrokerId = NewType("BrokerId", int)
"""The node id under which Kafka clients know a gateway."""

GroupId = NewType("GroupId", str)
MemberId = NewType("MemberId", str)

ProducerId = NewType("ProducerId", int)
"""KIP-98 producer id; -1 where the batch is not idempotent."""

ProducerEpoch = NewType("ProducerEpoch", int)
"""KIP-98 producer epoch, int16; -1 where the batch is not idempotent."""

Revision = NewType("Revision", int)
"""A revision of the metadata store; totally ordered."""

NO_PRODUCER_ID = ProducerId(-1)
NO_SEQUENCE = -1
NO_TIMESTAMP_MS = -1


class TopicPartition(NamedTuple):
    """A partition, keyed by topic id and never by name."""

    topic_id: TopicId
    partition: Partition

    def __str__(self) -> str:
        return f"{self.topic_id}/{self.partition}"
