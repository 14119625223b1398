"""ClusterView: what a watcher of the metadata service knows, fed by watch events. Pure.

Owns: the watched state and its indexes. Does not own: the stream (watcher.py).
Rules: 1 a snapshot replaces everything, and only when its last part is there; 2 events apply whole or not
at all; 3 topics are found by id, a name is only a way to an id.
"""

from collections.abc import Mapping
from types import MappingProxyType

from libs.clients import convert
from libs.model.cluster import Assignment, Gateway, Owner, Replica, Topic
from libs.model.ids import GatewayId, OwnerId, ReplicaId, Revision, TopicId, TopicName, TopicPartition
from proto.metadata_api.metadata_api_pb2 import Change, WatchEvent


class _State:
    """The five tables; a snapshot in parts fills a second one beside the one in use."""

    __slots__ = ("assignments", "gateways", "owners", "replicas", "topics", "topics_by_name")

    def __init__(self) -> None:
        self.topics: dict[TopicId, Topic] = {}
        self.topics_by_name: dict[TopicName, Topic] = {}
        self.owners: dict[OwnerId, Owner] = {}
        self.gateways: dict[GatewayId, Gateway] = {}
        self.replicas: dict[ReplicaId, Replica] = {}
        self.assignments: dict[TopicPartition, Assignment] = {}

    def apply(self, change: Change) -> None:
        match change.WhichOneof("what"):
            case "topic":
                self._apply_topic(convert.topic(change.topic), removed=change.removed)
            case "owner" if change.removed:
                self.owners.pop(OwnerId(change.owner.owner), None)
            case "owner":
                self.owners[OwnerId(change.owner.owner)] = convert.owner(change.owner)
            case "gateway" if change.removed:
                self.gateways.pop(GatewayId(change.gateway.gateway), None)
            case "gateway":
                self.gateways[GatewayId(change.gateway.gateway)] = convert.gateway(change.gateway)
            case "replica" if change.removed:
                self.replicas.pop(ReplicaId(change.replica.replica), None)
            case "replica":
                self.replicas[ReplicaId(change.replica.replica)] = convert.replica(change.replica)
            case "assignment":
                entry = change.assignment
                at = convert.topic_partition(entry.topic_id, entry.partition)
                if change.removed:
                    self.assignments.pop(at, None)
                else:
                    self.assignments[at] = convert.assignment(at, entry.assignment)
            case _:
                pass  # a newer service tells of things that this version has no use for

    def _apply_topic(self, topic: Topic, *, removed: bool) -> None:
        known = self.topics_by_name.get(topic.name)
        if removed:
            self.topics.pop(topic.topic_id, None)
            if known is not None and known.topic_id == topic.topic_id:
                del self.topics_by_name[topic.name]
            return
        if known is not None and known.topic_id != topic.topic_id:
            self.topics.pop(known.topic_id, None)
        self.topics[topic.topic_id] = topic
        self.topics_by_name[topic.name] = topic


class ClusterView:
    """What was last heard of the cluster. The mappings are read-only views that stay current."""

    def __init__(self) -> None:
        self._state = _State()
        self._incoming: _State | None = None
        self.revision = Revision(0)
        self.version = 0
        """Grows with every event applied; 0 until the first snapshot is complete."""
        self.cluster_id = ""

    @property
    def topics(self) -> Mapping[TopicId, Topic]:
        return MappingProxyType(self._state.topics)

    @property
    def topics_by_name(self) -> Mapping[TopicName, Topic]:
        return MappingProxyType(self._state.topics_by_name)

    @property
    def owners(self) -> Mapping[OwnerId, Owner]:
        return MappingProxyType(self._state.owners)

    @property
    def gateways(self) -> Mapping[GatewayId, Gateway]:
        return MappingProxyType(self._state.gateways)

    @property
    def replicas(self) -> Mapping[ReplicaId, Replica]:
        return MappingProxyType(self._state.replicas)

    @property
    def assignments(self) -> Mapping[TopicPartition, Assignment]:
        return MappingProxyType(self._state.assignments)

    def forget_partial_snapshot(self) -> None:
        """The stream broke: what came of an unfinished snapshot is worth nothing."""
        self._incoming = None

    def apply(self, event: WatchEvent) -> bool:
        """True where the view changed, False where this was a part of a snapshot with more to come."""
        if event.snapshot:
            if self._incoming is None:
                self._incoming = _State()
            for change in event.changes:
                self._incoming.apply(change)
            if event.more:
                return False
            self._state, self._incoming = self._incoming, None
        else:
            for change in event.changes:
                self._state.apply(change)
        if event.cluster_id:
            self.cluster_id = event.cluster_id
        self.revision = Revision(event.revision)
        if event.snapshot or event.changes:
            self.version += 1
            return True
        return False
