"""A partition that this owner has: its log, its producers, and who waits for it.

Owns: the state of one (topic id, partition, leader epoch) in one session. Does not own: opening, handing
over.
Rules: 1 a partition object serves one epoch of one session and never comes back once it is closed (design
section 3, rules 5 and 11); 2 only an open one takes appends; one that is being released is still read.
"""

from enum import Enum

from libs.model.cluster import Topic
from libs.model.ids import ChainSeq, LeaderEpoch, SessionId, TopicPartition
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
    """One epoch of a partition. `readers` are woken when `durable` moves and when it closes."""

    __slots__ = (
        "first_seq",
        "last_seq",
        "leader_epoch",
        "log",
        "log_append_time",
        "phase",
        "producers",
        "readers",
        "session",
        "topic",
        "tp",
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
    ) -> None:
        self.tp = tp
        self.session = session
        self.leader_epoch = leader_epoch
        self.log = log
        self.producers = producers
        self.phase = PartitionPhase.OPEN
        self.first_seq = first_seq
        """What is appended here is in this object of the session's chain, or after it."""
        self.last_seq = NO_SEQ
        """Last object of the session's chain that has records of this partition."""
        self.readers: set[Wake] = set()
        self.take_topic(topic)

    def take_topic(self, topic: Topic) -> None:
        """Applies the topic's settings, which may change at any time."""
        self.topic = topic
        self.log_append_time = topic.configs.get("message.timestamp.type") == "LogAppendTime"

    @property
    def appendable(self) -> bool:
        return self.phase is PartitionPhase.OPEN

    @property
    def readable(self) -> bool:
        return self.phase is PartitionPhase.OPEN or self.phase is PartitionPhase.RELEASING

    def became_durable(self, end_offset: int) -> None:
        """Everything below `end_offset` is durable: readers see it from now on."""
        self.log.advance_durable(end_offset)
        self._wake_readers()

    def close(self) -> None:
        """Ends the partition's service here, for good."""
        self.phase = PartitionPhase.CLOSED
        self._wake_readers()

    def _wake_readers(self) -> None:
        for reader in self.readers:
            reader.set()
