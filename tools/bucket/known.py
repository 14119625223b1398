"""What the metadata store knows, of one revision: from the Snapshot RPC, or out of a snapshot's entries.

Owns: stored entries -> values. Does not own: the messages (services/metadata/stored.py).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from libs.clients.metadata import NO_REVISION
from libs.model.cluster import Assignment, PartitionState, Topic
from libs.model.errors import Fenced
from libs.model.ids import ChainSeq, Revision, SessionId, TopicId, TopicPartition
from libs.segments.snapshot import SnapshotEntry
from services.metadata import keys, stored
from services.metadata.kv.port import KeyValue
from services.metadata.stored import DeletedTopic, SessionRecord

_ATTEMPTS_MAX = 3


class SnapshotSource(Protocol):
    """`MetadataClient`, or whatever else tells the metadata store at one revision."""

    async def snapshot(
        self,
        take: Callable[[Revision, Sequence[SnapshotEntry]], Awaitable[None]],
        *,
        unless_revision: Revision = NO_REVISION,
        with_live: bool = False,
    ) -> Revision: ...


@dataclass(slots=True, kw_only=True)
class Known:
    """`live`: sessions of registered owners. Groups, offsets and the like are passed over."""

    revision: Revision = NO_REVISION
    topics: dict[TopicId, Topic] = field(default_factory=dict)
    deleting: dict[TopicId, DeletedTopic] = field(default_factory=dict)
    assignments: dict[TopicPartition, Assignment] = field(default_factory=dict)
    states: dict[TopicPartition, PartitionState] = field(default_factory=dict)
    sessions: dict[SessionId, SessionRecord] = field(default_factory=dict)
    live: set[SessionId] = field(default_factory=set)

    def add(self, entry: SnapshotEntry) -> None:
        """Raises Corrupt where the value is none of its key."""
        item = KeyValue(
            key=entry.key,
            value=entry.value,
            create_revision=entry.mod_revision,
            mod_revision=entry.mod_revision,
        )
        if entry.key.startswith(keys.TOPICS):
            topic = stored.topic(item).value
            self.topics[topic.topic_id] = topic
        elif entry.key.startswith(keys.DELETING):
            deleted = stored.deleted_topic(item).value
            self.deleting[deleted.topic.topic_id] = deleted
        elif entry.key.startswith(keys.ASSIGNMENTS):
            self.assignments[keys.topic_partition_of(entry.key)] = stored.assignment(item).value
        elif entry.key.startswith(keys.PARTITIONS):
            self.states[keys.topic_partition_of(entry.key)] = stored.partition_state(item).value
        elif entry.key.startswith(keys.SESSIONS):
            record = stored.session(item).value
            self.sessions[record.session] = record
        elif entry.key.startswith(keys.OWNERS):
            self.live.add(stored.owner(item).value.session)

    def needed_from(self) -> dict[SessionId, ChainSeq]:
        """From where on each session's chain is needed by any partition's state."""
        least: dict[SessionId, ChainSeq] = {}
        for state in self.states.values():
            for position in state.positions:
                least[position.session] = min(
                    position.from_seq, least.get(position.session, position.from_seq)
                )
        return least

    def sessions_named(self) -> set[SessionId]:
        """Every session that anything here names, living or not."""
        positions = {each.session for state in self.states.values() for each in state.positions}
        return self.named() | positions | set(self.sessions)

    def named(self) -> set[SessionId]:
        """Sessions that somebody may still write to, or has to seal."""
        found = set(self.live)
        for assignment in self.assignments.values():
            found.add(assignment.session)
            found.update(each.session for each in assignment.predecessors)
        return found


def known_from(entries: Iterable[SnapshotEntry], revision: Revision) -> Known:
    """Raises Corrupt."""
    known = Known(revision=revision)
    for entry in entries:
        known.add(entry)
    return known


async def read_known(source: SnapshotSource) -> Known:
    """What is known now. Raises Unavailable, Corrupt."""
    for attempt in range(_ATTEMPTS_MAX):
        known = Known()

        async def take(revision: Revision, entries: Sequence[SnapshotEntry], into: Known = known) -> None:
            into.revision = revision
            for entry in entries:
                into.add(entry)

        try:
            known.revision = await source.snapshot(take, with_live=True)
        except Fenced:
            if attempt == _ATTEMPTS_MAX - 1:
                raise
        else:
            return known
    raise AssertionError("the last attempt returns or raises")
