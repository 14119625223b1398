"""A run as the judges see it: every event in the order in which it happened, and how it ended.

Owns: order and time. Does not own: what an event means (checkers/), who makes them.
Rules: 1 one history for a run, one list: the order of entries is the order of the world; 2 a question and
its answer are two entries, and only what an answer was to (`call`) links them: so "after" always means
"asked after it was answered".

Memory: an entry costs some 200 bytes, a run of 5,000 operations a few MB, and
everything that was ever stored once.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from libs.model.cluster import Assignment, PartitionState, Topic
from libs.model.ids import OwnerId, SessionId, TopicId, TopicPartition
from tests.sim.events import SeenRecord
from tests.sim.facts import ObjectWritten


class Entry(NamedTuple):
    """One event. `number` is its place in the history, and its `call` where it is a question."""

    number: int
    at: float
    """Virtual seconds since the world began."""
    actor: str
    event: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalRead:
    """A partition read from its log start to its high watermark after everything was healed.

    `error`: why it could not be read (then the rest says nothing).
    """

    records: tuple[SeenRecord, ...] = ()
    log_start: int = 0
    high_watermark: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealedState:
    """What the platform could do when all faults were over, before the last change of retention."""

    not_written: Mapping[TopicPartition, str]
    """Partitions that took no record, and why."""
    reads: Mapping[TopicPartition, FinalRead]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndState:
    """What was left when all faults were over, everybody was well, and collection had had its time."""

    reads: Mapping[TopicPartition, FinalRead]
    """Of every partition of every topic that exists at the end."""
    topics: Sequence[Topic]
    assignments: Mapping[TopicPartition, Assignment]
    states: Mapping[TopicPartition, PartitionState]
    live_sessions: frozenset[SessionId]
    """Of the owners that run at the end."""
    takers: frozenset[OwnerId] = frozenset()
    """Owners that are registered and not drained: who gets partitions."""
    sessions: frozenset[SessionId]
    """That the metadata store knows, live or sealed."""
    bucket: Mapping[str, bytes]
    """All objects of the cluster's prefix, by key without it."""
    committed: Mapping[tuple[str, TopicPartition], int] = field(default_factory=dict)
    """Committed offsets, by group."""
    told_configs: Mapping[TopicId, Mapping[str, str]] = field(default_factory=dict)
    """What a gateway tells of the configs that a topic has set."""
    collected: bool = True
    """False where the run gave collection no time: then nothing is an orphan yet."""
    grace_seconds: float = 1800.0
    """What became an orphan within the last so many seconds is not judged: longer than compaction's interval,
    the delay before deleting and a round of collection together, as this run has set them."""


class History:
    """Append-only. `now` gives the virtual time in seconds; `epoch_ms` is the wall clock's time when that was
    0, and `skew_ms_max` by how much any process' wall clock may be ahead or behind.
    """

    def __init__(self, now: Callable[[], float], *, epoch_ms: int = 0, skew_ms_max: int = 0) -> None:
        self._now = now
        self.epoch_ms = epoch_ms
        self.skew_ms_max = skew_ms_max
        self.entries: list[Entry] = []
        self._of_kind: defaultdict[type, list[Entry]] = defaultdict(list)
        self.stuck: tuple[str, ...] = ()
        """Clients that did not come to their end although all was well."""
        self.healed: HealedState | None = None
        self.end: EndState | None = None
        """Each is set once, when the run is over."""

    def add(self, actor: str, event: object) -> int:
        """Appends the event; returns its number: the `call` of the answer to it."""
        number = len(self.entries)
        entry = Entry(number, self._now(), actor, event)
        self.entries.append(entry)
        self._of_kind[type(event)].append(entry)
        return number

    def stored(self, actor: str, key: str, body: bytes) -> None:
        """The store has this object now. `key` without the cluster's prefix."""
        self.add(actor, ObjectWritten(key=key, body=bytes(body)))

    def each(self, *kinds: type) -> Iterator[tuple[Entry, Any]]:
        """The entries of these kinds, in order, each with its event."""
        found = [self._of_kind.get(kind, ()) for kind in kinds]
        for entry in found[0] if len(found) == 1 else heapq.merge(*found):
            yield entry, entry.event

    def last_reads(self) -> Iterator[tuple[TopicPartition, FinalRead]]:
        """What was read when all faults were over, and at the very end."""
        if self.healed is not None:
            yield from self.healed.reads.items()
        if self.end is not None:
            yield from self.end.reads.items()

    def event(self, number: int) -> Any:
        """The event with that number."""
        return self.entries[number].event

    def __len__(self) -> int:
        return len(self.entries)
