"""Values of libs/model/references.py <-> the messages of proto/metadata_api.

Owns: both directions, once. Errors: Corrupt where a message can't be what it claims to be.
"""

from libs.clients import convert
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, LeaderEpoch, Revision, TopicId, TopicName, TopicPartition
from libs.model.references import (
    DeletedTopicReference,
    PartitionReferences,
    References,
    SessionReferences,
    TopicPhase,
)
from proto.metadata_api import metadata_api_pb2 as api

_PHASES = {
    TopicPhase.UNKNOWN: api.TOPIC_UNKNOWN,
    TopicPhase.EXISTS: api.TOPIC_EXISTS,
    TopicPhase.DELETING: api.TOPIC_DELETING,
    TopicPhase.DELETED: api.TOPIC_DELETED,
}
_PHASE_OF = {number: phase for phase, number in _PHASES.items()}


def references(reply: api.GetReferencesReply, topics: list[TopicId]) -> References:
    """`topics`: those of the request, in its order."""
    if len(reply.topics) != len(topics):
        raise Corrupt(f"{len(topics)} topics were asked for, the reply has {len(reply.topics)}")
    sessions = [_session(each) for each in reply.sessions]
    partitions = [_partition(each) for each in reply.partitions]
    return References(
        revision=Revision(reply.revision),
        cluster_id=reply.cluster_id,
        sessions={each.session: each for each in sessions},
        partitions=dict(partitions),
        topics={topic_id: _phase(each) for topic_id, each in zip(topics, reply.topics, strict=True)},
        dead_sessions=tuple(_session(each) for each in reply.dead_sessions),
        deleted_topics=tuple(
            DeletedTopicReference(
                topic_id=convert.topic_id(each.topic_id),
                name=TopicName(each.name),
                deleted_ms=each.deleted_ms,
            )
            for each in reply.deleted_topics
        ),
    )


def references_message(value: References, topics: list[TopicId]) -> api.GetReferencesReply:
    """`topics`: those of the request, in its order."""
    return api.GetReferencesReply(
        revision=value.revision,
        cluster_id=value.cluster_id,
        sessions=[_session_message(each) for each in value.sessions.values()],
        partitions=[_partition_message(at, each) for at, each in value.partitions.items()],
        topics=[_PHASES[value.topics[topic_id]] for topic_id in topics],
        dead_sessions=[_session_message(each) for each in value.dead_sessions],
        deleted_topics=[
            api.DeletedTopicReference(
                topic_id=each.topic_id.bytes, name=each.name, deleted_ms=each.deleted_ms
            )
            for each in value.deleted_topics
        ],
    )


def _session(message: api.SessionReferences) -> SessionReferences:
    return SessionReferences(
        session=convert.session_id(message.session),
        recorded=message.recorded,
        sealed_at=ChainSeq(message.sealed_at) if message.HasField("sealed_at") else None,
        registered=message.registered,
        assigned=message.assigned,
        predecessor=message.predecessor,
        least_from_seq=ChainSeq(message.least_from_seq) if message.HasField("least_from_seq") else None,
    )


def _session_message(value: SessionReferences) -> api.SessionReferences:
    return api.SessionReferences(
        session=value.session.bytes,
        recorded=value.recorded,
        sealed_at=value.sealed_at,
        registered=value.registered,
        assigned=value.assigned,
        predecessor=value.predecessor,
        least_from_seq=value.least_from_seq,
    )


def _partition(message: api.PartitionReferences) -> tuple[TopicPartition, PartitionReferences]:
    at = convert.topic_partition(message.at.topic_id, message.at.partition)
    return at, PartitionReferences(
        session=convert.session_id(message.session),
        leader_epoch=LeaderEpoch(message.leader_epoch),
        opened=message.opened,
        manifest_key=message.manifest_key,
    )


def _partition_message(at: TopicPartition, value: PartitionReferences) -> api.PartitionReferences:
    return api.PartitionReferences(
        at=api.TopicPartitionEntry(topic_id=at.topic_id.bytes, partition=at.partition),
        session=value.session.bytes,
        leader_epoch=value.leader_epoch,
        opened=value.opened,
        manifest_key=value.manifest_key,
    )


def _phase(number: api.TopicPhase) -> TopicPhase:
    phase: TopicPhase | None = _PHASE_OF.get(number)
    if phase is None:
        raise Corrupt(f"a topic of phase {number} in a reply")
    return phase
