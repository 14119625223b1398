"""What clients and admins asked and were told, as plain values.

Owns: the events of clients. Does not own: their order and time (history.py), what the cluster did (facts.py).
Rules: 1 a question is added when it is asked, its answer when it came; the answer names the question by
`call`, the number that `History.add` returned for it; 2 a question without an answer is one whose outcome
nobody knows; 3 errors are Kafka's names (`NOT_LEADER_OR_FOLLOWER`), as the client got them; 4 a value is
unique in the whole run: it is sent again only by a producer's retry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.model.ids import GroupId, MemberId, TopicId, TopicPartition

NO_EPOCH = -1
NO_OFFSET = -1


class SeenRecord(NamedTuple):
    """A record as a client read it."""

    offset: int
    value: str
    leader_epoch: int = NO_EPOCH


@dataclass(frozen=True, slots=True, kw_only=True)
class ProduceSent:
    """One batch. Values are in the order of the batch. A retry is an event of its own."""

    tp: TopicPartition
    topic: str
    values: tuple[str, ...]
    timestamp_ms: int = -1
    """Of the newest record, on the wall clock of the world."""
    size_bytes: int = 0
    """Of the encoded batch; for retention by size."""
    producer_id: int = -1
    producer_epoch: int = -1
    base_sequence: int = -1
    acks: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProduceAcked:
    """`base_offset` is -1 where the client learns no offset (a duplicate that is no longer remembered)."""

    call: int
    base_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProduceFailed:
    """The client was told that the batch is not stored, and never will be."""

    call: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProduceUnknown:
    """Time-out, NOT_LEADER_OR_FOLLOWER, a broken connection: it may be stored, now or later."""

    call: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchAsked:
    """One partition of a fetch. `leader_epoch` is the current leader epoch that the client sent along (-1:
    none): a good answer then comes from the owner of exactly that epoch."""

    tp: TopicPartition
    position: int
    leader_epoch: int = NO_EPOCH


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchAnswered:
    """`records` at or above the position, in the order of the answer. `error` is '' where all is well."""

    call: int
    records: tuple[SeenRecord, ...] = ()
    high_watermark: int = NO_OFFSET
    log_start: int = NO_OFFSET
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAsked:
    """ListOffsets. `timestamp` as in Kafka: -1 latest, -2 earliest, or milliseconds."""

    tp: TopicPartition
    timestamp: int
    leader_epoch: int = NO_EPOCH


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAnswered:
    call: int
    offset: int = NO_OFFSET
    leader_epoch: int = NO_EPOCH
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCreateAsked:
    topic: str
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCreated:
    """The answer to TopicCreateAsked, or a topic that a client found later (`call` -1)."""

    topic: str
    topic_id: TopicId
    partitions: int
    call: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDeleteAsked:
    topic: str
    topic_id: TopicId


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDeleted:
    """From here on no client may see the topic, once the watches have caught up."""

    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecordsAsked:
    """`before`: the offset below which all goes; -1 means up to the high watermark."""

    tp: TopicPartition
    before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecordsAcked:
    call: int
    log_start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigsAsked:
    """A topic's new configs, all of them. Added before the request goes out: it may hold from here on.

    Kafka asks by name: without an answer it may also meet a later topic of that name.
    """

    topic_id: TopicId
    configs: Mapping[str, str]
    topic: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigsAcked:
    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthAsked:
    """How many partitions a topic is to have; fewer than it has is asked, too, and has to be refused.

    By name, as ConfigsAsked.
    """

    topic_id: TopicId
    topic: str
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthAcked:
    """The answer, or a gateway told of so many partitions after an answer was lost."""

    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupJoined:
    """JoinGroup was answered: the member is in this generation."""

    group: GroupId
    member: MemberId
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAssigned:
    """SyncGroup was answered. `given` is what the group's leader sent for this member, as far as the actors
    know it (None: not known): it has to come out byte for byte."""

    group: GroupId
    member: MemberId
    generation: int
    partitions: frozenset[TopicPartition]
    given: frozenset[TopicPartition] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRevoked:
    """The member gave everything back: it left, was told to rejoin, or was killed."""

    group: GroupId
    member: MemberId
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitAsked:
    """`rewind`: the client means to go back (an admin's reset, a seek to an earlier place)."""

    group: GroupId
    member: MemberId
    generation: int
    offsets: Mapping[TopicPartition, int]
    rewind: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitAcked:
    """Committed for every partition that was asked."""

    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFailed:
    """Definitely not committed: ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, ..."""

    call: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetsAsked:
    group: GroupId
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetsFetched:
    """-1 where nothing is committed."""

    call: int
    offsets: Mapping[TopicPartition, int]
