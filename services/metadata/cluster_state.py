"""What a replica knows of the cluster: the watched keys as values, fed by changes. Pure.

Owns: tables by id with their revisions, and what each change means to watchers. Does not own: the watch
(cache.py), the watchers (watch.py).
Rules: 1 partition states, offsets and groups are not here: they are many, and read from the store itself;
2 a removal is told with the identity of what was there.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from libs.clients import convert
from libs.model.cluster import Assignment, Gateway, Owner, Replica, Topic
from libs.model.ids import (
    GatewayId,
    OwnerId,
    Partition,
    ReplicaId,
    Revision,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)
from proto.metadata import metadata_pb2 as messages
from proto.metadata_api.metadata_api_pb2 import AssignmentEntry, Change
from services.metadata import keys, stored
from services.metadata.kv.port import Deleted, KeyValue
from services.metadata.stored import ControllerRecord, DeletedTopic, SessionRecord, SessionState, Stored

WATCHED = (
    keys.CLUSTER,
    keys.CONTROLLER,
    keys.TOPICS,
    keys.DELETING,
    keys.OWNERS,
    keys.SESSIONS,
    keys.GATEWAYS,
    keys.REPLICAS,
    keys.ASSIGNMENTS,
)
"""Keys and prefixes that a replica keeps in memory."""


class ClusterState:
    """The tables; read them, change them only through `apply`."""

    def __init__(self) -> None:
        self.revision = Revision(0)
        self.cluster_id = ""
        self.controller: Stored[ControllerRecord] | None = None
        self.topics: dict[TopicName, Stored[Topic]] = {}
        self.topics_by_id: dict[TopicId, Stored[Topic]] = {}
        self.deleting: dict[TopicId, Stored[DeletedTopic]] = {}
        self.owners: dict[OwnerId, Stored[Owner]] = {}
        self.sessions: dict[SessionId, Stored[SessionRecord]] = {}
        self.gateways: dict[GatewayId, Stored[Gateway]] = {}
        self.replicas: dict[ReplicaId, Stored[Replica]] = {}
        self.assignments: defaultdict[TopicId, dict[Partition, Stored[Assignment]]] = defaultdict(dict)

    def assignment(self, at: TopicPartition) -> Stored[Assignment] | None:
        of_topic = self.assignments.get(at.topic_id)
        return None if of_topic is None else of_topic.get(at.partition)

    def all_assignments(self) -> Iterator[tuple[TopicPartition, Stored[Assignment]]]:
        for topic_id, of_topic in self.assignments.items():
            for partition, assignment in of_topic.items():
                yield TopicPartition(topic_id, partition), assignment

    def live_owners(self) -> dict[OwnerId, Stored[Owner]]:
        """Registered, and their session's chain not known to have ended."""
        return {
            owner_id: owner
            for owner_id, owner in self.owners.items()
            if not self.is_sealed(owner.value.session)
        }

    def is_sealed(self, session: SessionId) -> bool:
        record = self.sessions.get(session)
        return record is not None and record.value.state is SessionState.SEALED

    def apply(self, event: KeyValue | Deleted) -> Change | None:
        """What watchers are told; None where it is nothing to them."""
        table = event.key.split("/", 1)[0]
        apply = getattr(self, f"_apply_{table}", None)
        if apply is None:
            return None
        change: Change | None = apply(event)
        return change

    def changes(self) -> Iterator[Change]:
        """All that a snapshot tells. What refers to something comes after it."""
        for topic in self.topics.values():
            yield Change(topic=convert.topic_message(topic.value))
        for owner in self.owners.values():
            yield Change(owner=convert.owner_message(owner.value))
        for gateway in self.gateways.values():
            yield Change(gateway=convert.gateway_message(gateway.value))
        for replica in self.replicas.values():
            yield Change(replica=convert.replica_message(replica.value))
        for at, assignment in self.all_assignments():
            yield _assignment_change(at, convert.assignment_message(assignment.value))

    # One method a table, named for it.

    def _apply_cluster(self, event: KeyValue | Deleted) -> None:
        if isinstance(event, KeyValue):
            self.cluster_id = stored.parse(messages.ClusterInfo, event).cluster_id

    def _apply_controller(self, event: KeyValue | Deleted) -> None:
        self.controller = stored.controller(event) if isinstance(event, KeyValue) else None

    def _apply_topics(self, event: KeyValue | Deleted) -> Change | None:
        before = self.topics.pop(TopicName(event.key.removeprefix(keys.TOPICS)), None)
        if before is not None:
            del self.topics_by_id[before.value.topic_id]
        if isinstance(event, KeyValue):
            topic = stored.topic(event)
            self.topics[topic.value.name] = self.topics_by_id[topic.value.topic_id] = topic
            return Change(topic=convert.topic_message(topic.value))
        if before is None:
            return None
        gone = messages.TopicConfig(name=before.value.name, topic_id=before.value.topic_id.bytes)
        return Change(removed=True, topic=gone)

    def _apply_deleting(self, event: KeyValue | Deleted) -> None:
        topic_id = TopicId(keys.last_id_of(event.key))
        if isinstance(event, KeyValue):
            self.deleting[topic_id] = stored.deleted_topic(event)
        else:
            self.deleting.pop(topic_id, None)

    def _apply_owners(self, event: KeyValue | Deleted) -> Change:
        owner_id = OwnerId(event.key.removeprefix(keys.OWNERS))
        if isinstance(event, KeyValue):
            owner = self.owners[owner_id] = stored.owner(event)
            return Change(owner=convert.owner_message(owner.value))
        self.owners.pop(owner_id, None)
        return Change(removed=True, owner=messages.OwnerRegistration(owner=owner_id))

    def _apply_sessions(self, event: KeyValue | Deleted) -> None:
        session = SessionId(keys.last_id_of(event.key))
        if isinstance(event, KeyValue):
            self.sessions[session] = stored.session(event)
        else:
            self.sessions.pop(session, None)

    def _apply_gateways(self, event: KeyValue | Deleted) -> Change:
        gateway_id = GatewayId(event.key.removeprefix(keys.GATEWAYS))
        if isinstance(event, KeyValue):
            gateway = self.gateways[gateway_id] = stored.gateway(event)
            return Change(gateway=convert.gateway_message(gateway.value))
        self.gateways.pop(gateway_id, None)
        return Change(removed=True, gateway=messages.GatewayRegistration(gateway=gateway_id))

    def _apply_replicas(self, event: KeyValue | Deleted) -> Change:
        replica_id = ReplicaId(event.key.removeprefix(keys.REPLICAS))
        if isinstance(event, KeyValue):
            replica = self.replicas[replica_id] = stored.replica(event)
            return Change(replica=convert.replica_message(replica.value))
        self.replicas.pop(replica_id, None)
        return Change(removed=True, replica=messages.ReplicaRegistration(replica=replica_id))

    def _apply_assignments(self, event: KeyValue | Deleted) -> Change:
        at = keys.topic_partition_of(event.key)
        if isinstance(event, KeyValue):
            assignment = self.assignments[at.topic_id][at.partition] = stored.assignment(event)
            return _assignment_change(at, convert.assignment_message(assignment.value))
        of_topic = self.assignments[at.topic_id]
        of_topic.pop(at.partition, None)
        if not of_topic:
            del self.assignments[at.topic_id]
        return _assignment_change(at, None)


def build(items: Iterable[KeyValue], revision: Revision) -> ClusterState:
    """The state that these items are, all of one revision."""
    state = ClusterState()
    for item in items:
        state.apply(item)
    state.revision = revision
    return state


def _assignment_change(at: TopicPartition, message: messages.Assignment | None) -> Change:
    entry = AssignmentEntry(topic_id=at.topic_id.bytes, partition=at.partition, assignment=message)
    return Change(removed=message is None, assignment=entry)
