"""What the cluster did and what was done to it, as plain values: what no client can see.

Owns: the facts that the world adds to the history. Does not own: what clients saw (events.py).
Rules: 1 a fact is added at the very moment it becomes true, before anything can follow from it: a PUT when
the store has the object, a state when the metadata store has committed it; 2 bodies and states are the
stored ones, never what a process believes.
"""

from dataclasses import dataclass

from libs.model.cluster import Assignment, PartitionState, Topic
from libs.model.ids import SessionId, TopicPartition


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectWritten:
    """The store has the object (a late PUT: when it landed)."""

    key: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDeleted:
    """The store had the object and dropped it. `by`: the process that asked."""

    key: str
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCommitted:
    """The metadata store holds this partition state now; None: it was removed."""

    tp: TopicPartition
    state: PartitionState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentCommitted:
    """The metadata store holds this assignment now; None: it was removed."""

    tp: TopicPartition
    assignment: Assignment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCommitted:
    """The metadata store holds this topic by that name now; None: none."""

    name: str
    topic: Topic | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataAway:
    """From here to MetadataBack, the metadata store or every replica is gone (promise 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataBack:
    """It can be reached again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPathClear:
    """Until the next such fact: these partitions have a living owner that had opened them, and nothing
    disturbs their data path: gateways, that owner, the network between them and the store are well.

    Add an empty one before any fault, pause, kill or hand-over begins.
    """

    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStarted:
    """A process became ready."""

    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnded:
    """`killed`: by the world. Otherwise it ended by itself, with `error` ('' for a drained exit)."""

    process: str
    killed: bool
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The process stopped as SIGSTOP stops it. `session`: an owner's."""

    process: str
    session: SessionId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Woke:
    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferSeen:
    """A bounded buffer of a process, from its statistics (promise 7)."""

    process: str
    buffer: str
    used: int
    bound: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault, in a word and its target; for the report, no checker reads it."""

    fault: str
    target: str = ""
