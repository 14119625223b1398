"""A partition that this owner has: its log, its producers, and who waits for it.

Owns: the state of one (topic id, partition, leader epoch) in one session. Does not own: opening, handing
over.
Rules: 1 a partition object serves one epoch of one session and never comes back once it is closed (design
section 3, rules 5 and 11); 2 only an open one takes appends; one that is being released is still read; 3 a
new manifest and a new log start are served once they are in the metadata store, not before (rule 14).
"""

from enum import Enum

import trio

from libs.clients.metadata import PartitionRecord
from libs.model.cluster import Topic
from libs.model.ids import ChainSeq, LeaderEpoch, SessionId, TopicPartition
from libs.segments.keys import PartitionFolder
from libs.segments.manifest import Manifest
from services.partition_owner.log import PartitionLog
from services.partition_owner.producers import ProducerStates
from services.partition_owner.wake import Wake

NO_SEQ = -1
_FIRST_SEQ = ChainSeq(0)


class PartitionPhase(Enum):
    OPENING = "opening"
    OPEN = "open"
    RELEASING = "releasing"
    CLOSED = "closed"


class Partition:
    """One epoch of a partition. `readers` are woken when a frontier moves and when it closes."""

    __slots__ = (
        "_phase",
        "background",
        "committing",
        "first_seq",
        "last_seq",
        "leader_epoch",
        "log",
        "log_append_time",
        "manifest",
        "producers",
        "readers",
        "record",
        "session",
        "topic",
        "tp",
        "uncompacted_since",
    )

    def __init__(
        self,
        *,
        tp: TopicPartition,
        topic: Topic,
        session: SessionId,
        leader_epoch: LeaderEpoch,
        log: PartitionLog,
        producers: ProducerStates,
        first_seq: ChainSeq = _FIRST_SEQ,
        manifest: Manifest | None = None,
    ) -> None:
        self.tp = tp
        self.session = session
        self.leader_epoch = leader_epoch
        self.log = log
        self.producers = producers
        self._phase = PartitionPhase.OPEN
        self.background: set[trio.CancelScope] = set()
        """Work that ends at once when the partition is not open any more."""
        self.committing = trio.Lock()
        """Held by the one who changes the record in the metadata store."""
        self.first_seq = first_seq
        """What is appended here is in this object of the session's chain, or after it."""
        self.last_seq = NO_SEQ
        """Last object of the session's chain that has records of this partition."""
        self.readers: set[Wake] = set()
        self.manifest = manifest
        """What the log's segments come from; None while nothing was compacted."""
        self.record: PartitionRecord | None = None
        """As this owner last read or wrote it: the state, and the revisions that the next change compares."""
        self.uncompacted_since: float | None = None
        """Trio's clock when the first range that is not compacted became known here; None without any."""
        self.take_topic(topic)

    @property
    def folder(self) -> PartitionFolder:
        """Where its compacted objects are."""
        return PartitionFolder(self.topic.name, self.tp.topic_id, self.tp.partition)

    def take_topic(self, topic: Topic) -> None:
        """Applies the topic's settings, which may change at any time."""
        self.topic = topic
        self.log_append_time = topic.configs.get("message.timestamp.type") == "LogAppendTime"

    @property
    def phase(self) -> PartitionPhase:
        return self._phase

    @phase.setter
    def phase(self, phase: PartitionPhase) -> None:
        self._phase = phase
        if phase is not PartitionPhase.OPEN:
            for scope in self.background:
                scope.cancel()

    @property
    def appendable(self) -> bool:
        return self._phase is PartitionPhase.OPEN

    @property
    def readable(self) -> bool:
        return self._phase is PartitionPhase.OPEN or self._phase is PartitionPhase.RELEASING

    @property
    def manifest_key(self) -> str:
        """Of the manifest that the metadata store names; empty for none."""
        return "" if self.record is None or self.record.state is None else self.record.state.manifest_key

    def became_durable(self, end_offset: int) -> None:
        """Everything below `end_offset` is durable: readers see it from now on."""
        self.log.advance_durable(end_offset)
        if self.uncompacted_since is None:
            self.uncompacted_since = trio.current_time()
        self._wake_readers()

    def opened(self, record: PartitionRecord) -> None:
        """The partition is as its owner opened it; `record` is what the metadata store has of it now."""
        self.record = record
        if self.log.durable_ranges and self.uncompacted_since is None:
            self.uncompacted_since = trio.current_time()

    def committed(self, record: PartitionRecord, manifest: Manifest | None) -> None:
        """`record` is in the metadata store, and names `manifest`: readers see its segments and the log start
        from now on. Raises ValueError where the log can't be so.
        """
        if manifest is not None and manifest is not self.manifest:
            self.log.compacted(manifest)
            self.manifest = manifest
            # Ranges that are left became durable while it was written; their age counts from now.
            self.uncompacted_since = trio.current_time() if self.log.durable_ranges else None
        if record.state is not None:
            self.log.advance_log_start(record.state.log_start_offset)
        self.record = record
        self._wake_readers()

    def close(self) -> None:
        """Ends the partition's service here, for good."""
        self.phase = PartitionPhase.CLOSED
        self._wake_readers()

    def _wake_readers(self) -> None:
        for reader in self.readers:
            reader.set()
