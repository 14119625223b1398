"""What a replica knows of the cluster: the watched keys as values, fed by changes. Pure.

Owns: tables by id with their revisions, and what each change means to watchers. Does not own: the watch
(cache.py), the watchers (rpc_watch.py).
Rules: 1 partition states, offsets and groups are not here: they are many, and read from the store itself;
2 a removal is told with the identity of what was there; 3 what every opening writes after a takeover (its
predecessors, cleared) changes no plan: `plan_version` stays, or a thousand openings were a thousand plans.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

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
from services.metadata import keys, stored
from services.metadata.kv.port import Deleted, KeyValue, LeaseId
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
_ASSIGNMENTS = keys.ASSIGNMENTS.rstrip("/")

K = TypeVar("K")
V = TypeVar("V")
Watchable = Topic | Owner | Gateway | Replica | Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a watcher is told: a value as it is now, or as it was when it was removed."""

    value: Watchable
    removed: bool = False


class ClusterState:
    """The tables; read them, change them only through `apply`."""

    def __init__(self) -> None:
        self.revision = Revision(0)
        self.plan_version = 0
        """Grows with every change after which the controller may have something to do."""
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

    def holds_sealed(self, lease_id: LeaseId) -> bool:
        """Whether an owner is registered with this lease, for a session that has ended."""
        return any(
            owner.lease_id == lease_id and self.is_sealed(owner.value.session)
            for owner in self.owners.values()
        )

    def apply(self, event: KeyValue | Deleted) -> Changed | None:
        """What watchers are told; None where it is nothing to them. Raises Corrupt, and changes nothing
        then.
        """
        table = event.key.split("/", 1)[0]
        apply = getattr(self, f"_apply_{table}", None)
        if apply is None:
            return None
        change: Changed | None = apply(event)
        if table != _ASSIGNMENTS:
            self.plan_version += 1
        return change

    def watchables(self) -> Iterator[Watchable]:
        """All that a snapshot tells."""
        for table in (self.topics, self.owners, self.gateways, self.replicas):
            for known in table.values():
                yield known.value
        for _, assignment in self.all_assignments():
            yield assignment.value

    # One method a table, named for it.

    def _apply_cluster(self, event: KeyValue | Deleted) -> None:
        if isinstance(event, KeyValue):
            self.cluster_id = stored.parse(messages.ClusterInfo, event).cluster_id

    def _apply_controller(self, event: KeyValue | Deleted) -> None:
        self.controller = stored.controller(event) if isinstance(event, KeyValue) else None

    def _apply_topics(self, event: KeyValue | Deleted) -> Changed | None:
        topic = stored.topic(event) if isinstance(event, KeyValue) else None
        before = self.topics.pop(TopicName(event.key.removeprefix(keys.TOPICS)), None)
        if before is not None:
            del self.topics_by_id[before.value.topic_id]
        if topic is not None:
            self.topics[topic.value.name] = self.topics_by_id[topic.value.topic_id] = topic
            return Changed(value=topic.value)
        return None if before is None else Changed(value=before.value, removed=True)

    def _apply_deleting(self, event: KeyValue | Deleted) -> None:
        self._put(self.deleting, TopicId(keys.last_id_of(event.key)), event, stored.deleted_topic)

    def _apply_sessions(self, event: KeyValue | Deleted) -> None:
        self._put(self.sessions, SessionId(keys.last_id_of(event.key)), event, stored.session)

    def _apply_owners(self, event: KeyValue | Deleted) -> Changed | None:
        return self._put(self.owners, OwnerId(event.key.removeprefix(keys.OWNERS)), event, stored.owner)

    def _apply_gateways(self, event: KeyValue | Deleted) -> Changed | None:
        gateway_id = GatewayId(event.key.removeprefix(keys.GATEWAYS))
        return self._put(self.gateways, gateway_id, event, stored.gateway)

    def _apply_replicas(self, event: KeyValue | Deleted) -> Changed | None:
        replica_id = ReplicaId(event.key.removeprefix(keys.REPLICAS))
        return self._put(self.replicas, replica_id, event, stored.replica)

    def _apply_assignments(self, event: KeyValue | Deleted) -> Changed | None:
        at = keys.topic_partition_of(event.key)
        before = self.assignment(at)
        changed = self._put(self.assignments[at.topic_id], at.partition, event, stored.assignment)
        if not _is_planned_alike(before, self.assignment(at)):
            self.plan_version += 1
        if not self.assignments[at.topic_id]:
            del self.assignments[at.topic_id]
        return changed

    def _put(
        self,
        table: dict[K, Stored[V]],
        key: K,
        event: KeyValue | Deleted,
        read: Callable[[KeyValue], Stored[V]],
    ) -> Changed | None:
        if isinstance(event, KeyValue):
            known = table[key] = read(event)
            return self._changed(known.value)
        before = table.pop(key, None)
        return None if before is None else self._changed(before.value, removed=True)

    @staticmethod
    def _changed(value: object, *, removed: bool = False) -> Changed | None:
        return Changed(value=value, removed=removed) if isinstance(value, Watchable) else None


def _is_planned_alike(before: Stored[Assignment] | None, after: Stored[Assignment] | None) -> bool:
    if before is None or after is None:
        return before is after
    return replace(before.value, predecessors=()) == replace(after.value, predecessors=())
