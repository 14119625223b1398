"""What the metadata store says that is still needed: the answer by which objects are collected.

Owns: the values of GetReferences. Does not own: how they are read (services/metadata/references.py), what
may go because of them (services/partition_owner/collection/decide.py).
Rules: 1 an answer is of one revision of the store, which it reached after the request began: whoever LISTs
first and asks then judges objects by what came after them (design section 3, rule 16); 2 absence proves
nothing by itself, because a store can be wiped or set back: what may be collected is named (`recorded`,
`deleting`), never only missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from libs.model.ids import (
    ChainSeq,
    LeaderEpoch,
    Revision,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReferences:
    """Who still names a session, and from where on its chain is needed."""

    session: SessionId
    recorded: bool
    """The store has a record of this session: it knew it, and was not wiped since."""
    sealed_at: ChainSeq | None = None
    """The end of its chain, where that was told."""
    registered: bool = False
    assigned: bool = False
    """An assignment gives it a partition."""
    predecessor: bool = False
    """An assignment's new owner has to seal it first."""
    least_from_seq: ChainSeq | None = None
    """The least of all positions in its chain that any partition's state names; None: none does."""

    @property
    def dead(self) -> bool:
        """Known, and nobody who might write or might have to seal it is left."""
        return self.recorded and not (self.registered or self.assigned or self.predecessor)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReferences:
    """Who has a partition, and what its state names."""

    session: SessionId
    leader_epoch: LeaderEpoch
    opened: bool
    """The state has a position of this very session and epoch."""
    manifest_key: str
    """Empty where nothing was compacted."""


class TopicPhase(Enum):
    """What the store knows of a topic id."""

    UNKNOWN = "unknown"
    EXISTS = "exists"
    """Live or being created."""
    DELETING = "deleting"
    """Deleted; its partitions may still have owners."""
    DELETED = "deleted"
    """Deleted, and no partition of it has an owner or a state: nothing of it can be named again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedTopicReference:
    topic_id: TopicId
    name: TopicName
    deleted_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Of one revision. A partition that is missing has no assignment."""

    revision: Revision
    cluster_id: str
    sessions: Mapping[SessionId, SessionReferences] = field(default_factory=dict)
    """Of the sessions that were asked about."""
    partitions: Mapping[TopicPartition, PartitionReferences] = field(default_factory=dict)
    topics: Mapping[TopicId, TopicPhase] = field(default_factory=dict)
    dead_sessions: tuple[SessionReferences, ...] = ()
    """Where collectable ones were asked for: recorded sessions that nobody has any more."""
    deleted_topics: tuple[DeletedTopicReference, ...] = ()
    """Where collectable ones were asked for: those of phase DELETED."""
