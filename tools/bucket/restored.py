"""What the metadata store is to hold, decided from the bucket and a snapshot. Pure.

Owns: every decision of a rebuild. Does not own: reading, sealing, writing (rebuild.py).
Rules (design section 3, Restore):
1 everything about data is the bucket's: topics by their objects, minus tombstones; each partition's newest
  manifest that has all it names; every run of a sealed chain beyond it, in order;
2 groups, offsets, broker ids and the cluster's own record are the snapshot's; so are configs, unless a
  topic's object was written later;
3 what may have been promised and is not in the bucket is jumped over: epochs, producer ids, generations;
4 log starts are the greatest that is known of; nothing is guessed about data that is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from libs.clients.group_types import NO_MEMBER
from libs.model.cluster import Assignment, ChainPosition, PartitionState, Topic
from libs.model.ids import (
    ChainSeq,
    LeaderEpoch,
    Offset,
    OwnerId,
    Partition,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)
from libs.model.limits import CHAIN_IN_FLIGHT_MAX
from libs.segments.topic_object import TopicObject
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, stored
from services.metadata.groups.keys import GROUPS_PREFIX, partition_of_key
from services.metadata.groups.stored import decode_group, encode_group
from services.metadata.kv.port import KeyValue, Put
from services.metadata.stored import DeletedTopic, SessionRecord, SessionState
from tools.bucket.chains import Run
from tools.bucket.folders import ManifestFacts
from tools.bucket.known import Known, known_from
from tools.bucket.meta import Meta
from tools.bucket.partitions import Found, judge_alone
from tools.bucket.snapshots import Snapshot

EPOCH_JUMP = 1000
"""More than a partition changes its owner between two snapshots, far less than an int32 holds."""
PRODUCER_ID_JUMP = 1_000_000_000
GENERATION_JUMP = 1000
_CLOCKS_MS = 10 * 60 * 1000
"""Replicas' clocks tell which of two topics was created later if they say so by that much."""
RECOVERY = OwnerId("recovery")
"""Who has every partition until the controller gives it to a living owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """`puts` are all keys but the cluster's own, which is `cluster` (None: a new one is made).

    `damaged`: partitions of which something is missing; they are restored up to there.
    """

    puts: tuple[Put, ...]
    cluster: bytes | None
    topics: tuple[Topic, ...]
    partitions: int
    records: int
    """Offsets between log starts and ends."""
    groups: int
    offsets: int
    notes: tuple[str, ...]
    damaged: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class _Making:
    puts: list[Put] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    records: int = 0
    groups: int = 0
    offsets: int = 0
    ends: dict[TopicPartition, int] = field(default_factory=dict)


def restored(
    meta: Meta,
    found: Found,
    snapshot: Snapshot | None,
    *,
    now_ms: int,
    recovery_session: SessionId,
    newest: Snapshot | None = None,
    as_of_snapshot: bool = False,
) -> Restored:
    """`as_of_snapshot`: a point in time was asked for, so its configs win. `newest`: what was promised since
    then (log starts, deletions, epochs), None where it is `snapshot` itself. Raises Corrupt.
    """
    newest = newest or snapshot
    known = Known() if newest is None else known_from(newest.entries, newest.name.revision)
    then = Known() if snapshot is None else known_from(snapshot.entries, snapshot.name.revision)
    making = _Making()
    runs = found.runs()
    topics = _topics(meta, found, runs, known, then, snapshot, making, as_of_snapshot=as_of_snapshot)
    _deleted(meta, found, known, topics, making, now_ms)
    _sessions(found, recovery_session, making)
    for topic in topics.values():
        making.puts.append(Put(key=keys.topic(topic.name), value=stored.topic_bytes(topic)))
        for index in range(topic.partitions):
            tp = TopicPartition(topic.topic_id, Partition(index))
            _partition(tp, found, runs.get(tp, []), known, recovery_session, making)
    entries = [] if snapshot is None else [_item(entry) for entry in snapshot.entries]
    cluster = _from_snapshot(entries, topics, making, now_ms)
    newest_entries = [] if newest is None else [_item(entry) for entry in newest.entries]
    making.puts.append(_producer_ids(found, (*entries, *newest_entries)))
    return Restored(
        puts=tuple(making.puts),
        cluster=cluster,
        topics=tuple(topics.values()),
        partitions=sum(topic.partitions for topic in topics.values()),
        records=making.records,
        groups=making.groups,
        offsets=making.offsets,
        notes=tuple(making.notes),
        damaged=tuple(making.damaged),
    )


# Topics


def _topics(
    meta: Meta,
    found: Found,
    runs: Mapping[TopicPartition, Sequence[Run]],
    known: Known,
    then: Known,
    snapshot: Snapshot | None,
    making: _Making,
    *,
    as_of_snapshot: bool,
) -> dict[TopicId, Topic]:
    gone = set(meta.tombstones) | set(known.deleting)
    folders = {tp.topic_id: folder.folder.topic for tp, folder in found.folders.items()}
    counts: dict[TopicId, int] = {}
    for tp in (*found.folders, *runs):
        counts[tp.topic_id] = max(counts.get(tp.topic_id, 0), tp.partition + 1)
    topics: dict[TopicId, Topic] = {}
    for topic_id in sorted({*meta.topics, *known.topics, *counts} - gone):
        told, remembered = meta.topics.get(topic_id), then.topics.get(topic_id, known.topics.get(topic_id))
        if told is None and remembered is None:
            name = folders.get(topic_id, TopicName(f"recovered-{topic_id}"))
            topic = Topic(name=name, topic_id=topic_id, partitions=counts[topic_id])
            making.notes.append(f"nothing tells the name of topic {topic_id}: it is called {name}")
        else:
            topic = _merged(told, remembered, snapshot, as_of_snapshot=as_of_snapshot)
        topics[topic_id] = replace(
            topic, partitions=max(topic.partitions, counts.get(topic_id, 0)), live=True
        )
    return _with_own_names(topics, folders, known, making)


def _merged(
    told: TopicObject | None, remembered: Topic | None, snapshot: Snapshot | None, *, as_of_snapshot: bool
) -> Topic:
    if told is None:
        assert remembered is not None
        return remembered
    topic = Topic(
        name=told.name,
        topic_id=told.topic_id,
        partitions=told.partitions,
        configs=dict(told.configs),
        created_ms=told.created_ms,
    )
    if remembered is None:
        return topic
    later = snapshot is not None and told.written_ms > snapshot.name.created_ms and not as_of_snapshot
    return replace(topic if later else remembered, partitions=max(topic.partitions, remembered.partitions))


def _with_own_names(
    topics: Mapping[TopicId, Topic], folders: Mapping[TopicId, TopicName], known: Known, making: _Making
) -> dict[TopicId, Topic]:
    """A name belongs to the topic that was created last: the others were deleted, or nothing tells.

    The one that had it in the newest snapshot is older than all others: one that was deleted before has a
    tombstone, or is among that snapshot's deleted ones. Else clocks tell, as far as they can be believed.
    """

    def age(topic: Topic) -> tuple[bool, bool, int, TopicId]:
        return not topic.created_ms, topic.topic_id in known.topics, -topic.created_ms, topic.topic_id

    newest_first = sorted(topics.values(), key=age)
    taken: dict[TopicName, Topic] = {}
    kept: dict[TopicId, Topic] = {}
    for topic in newest_first:
        if topic.name not in taken:
            taken[topic.name] = kept[topic.topic_id] = topic
        elif topic.topic_id in folders:
            newer = taken[topic.name]
            by_clocks = topic.topic_id not in known.topics
            if (by_clocks and newer.created_ms - topic.created_ms < _CLOCKS_MS) or not topic.created_ms:
                making.damaged.append(
                    f"two topics are called {topic.name}, and nothing tells which one was deleted:"
                    f" {newer.topic_id} would be restored, {topic.topic_id} would not"
                )
                continue
            # Its segments are below the name, so it can't be had under another one.
            making.notes.append(
                f"topic {topic.topic_id} was called {topic.name} before another one was: it was deleted,"
                " is not restored, and its objects stay"
            )
        else:
            name = TopicName(f"recovered-{topic.topic_id}")
            kept[topic.topic_id] = replace(topic, name=name)
            making.notes.append(f"topic {topic.topic_id} has a newer one's name {topic.name}: now {name}")
    return kept


def _deleted(
    meta: Meta,
    found: Found,
    known: Known,
    topics: Mapping[TopicId, Topic],
    making: _Making,
    now_ms: int,
) -> None:
    """Deleted topics of which there is something left: so that collection goes on."""
    left = {tp.topic_id: folder.folder.topic for tp, folder in found.folders.items()}
    for topic_id, deleted in known.deleting.items():
        making.puts.append(_deleting(replace(deleted, partitions_removed=True)))
        left.pop(topic_id, None)
    for topic_id in left.keys() & meta.tombstones.keys() - topics.keys():
        tombstone = meta.tombstones[topic_id]
        topic = Topic(name=tombstone.name, topic_id=topic_id, partitions=1, live=False)
        making.puts.append(
            _deleting(
                DeletedTopic(topic=topic, deleted_ms=tombstone.deleted_ms or now_ms, partitions_removed=True)
            )
        )


def _deleting(deleted: DeletedTopic) -> Put:
    return Put(key=keys.deleting(deleted.topic.topic_id), value=stored.deleted_topic_bytes(deleted))


# Partitions


def _sessions(found: Found, recovery_session: SessionId, making: _Making) -> None:
    """Every chain of which something is left, as sealed: a record lets collection take it, in its time."""
    ends = {chain.session: chain.end for chain in found.chains.values() if chain.start < chain.end}
    ends.setdefault(recovery_session, 0)
    for session, end in sorted(ends.items()):
        record = SessionRecord(
            session=session,
            owner_id=RECOVERY,
            in_flight_max=CHAIN_IN_FLIGHT_MAX,
            state=SessionState.SEALED,
            sealed_at=ChainSeq(end),
        )
        making.puts.append(Put(key=keys.session(session), value=stored.session_bytes(record)))


def _partition(
    tp: TopicPartition,
    found: Found,
    runs: Sequence[Run],
    known: Known,
    recovery_session: SessionId,
    making: _Making,
) -> None:
    folder = found.folders.get(tp)
    facts = None if folder is None else folder.newest_whole()
    state = known.states.get(tp, PartitionState())
    collected = any(chain.start for chain in found.chains.values())
    problems = judge_alone(folder, runs, collected=collected)
    for problem in problems:
        making.damaged.append(f"{tp}: {problem.kind}: {problem.what}")
    kept, end = _contiguous(runs, facts)
    log_start = max(state.log_start_offset, 0 if facts is None else facts.log_start)
    if facts is None and kept:
        log_start = max(log_start, kept[0].base_offset)
    if end < max(log_start, state.released_offset or 0):
        making.damaged.append(
            f"{tp}: hole: the snapshot knows of the log start {log_start} and of records up to"
            f" {max(log_start, state.released_offset or 0)}, its data ends at {end}"
        )
    if end < log_start:
        # Log starts never go back: there is nothing to be read, and what comes next comes behind it.
        facts, kept, end = None, [], log_start
    making.ends[tp] = end
    making.records += end - log_start
    epochs = [run.leader_epoch for run in runs]
    epochs += [position.leader_epoch for position in state.positions]
    if folder is not None:
        epochs.append(folder.epoch_max)
    assignment = known.assignments.get(tp)
    if assignment is not None:
        epochs.append(assignment.leader_epoch)
    making.puts.append(
        Put(
            key=keys.assignment(tp),
            value=stored.assignment_bytes(
                Assignment(
                    topic_id=tp.topic_id,
                    partition=tp.partition,
                    owner_id=RECOVERY,
                    session=recovery_session,
                    leader_epoch=LeaderEpoch(max(0, max(epochs, default=0)) + EPOCH_JUMP),
                )
            ),
        )
    )
    if not end:
        return  # never written to: as if it was never opened
    positions = tuple(
        ChainPosition(
            session=run.session,
            leader_epoch=LeaderEpoch(run.leader_epoch),
            from_seq=ChainSeq(run.from_seq),
            to_seq=ChainSeq(run.to_seq),
        )
        for run in kept
    )
    new = PartitionState(
        log_start_offset=Offset(log_start),
        manifest_key="" if facts is None else facts.key,
        positions=positions,
        released_offset=Offset(end),
    )
    making.puts.append(Put(key=keys.partition(tp), value=stored.partition_state_bytes(new)))


def _contiguous(runs: Iterable[Run], facts: ManifestFacts | None) -> tuple[list[Run], int]:
    """The runs beyond the manifest that follow it and each other, and where they end."""
    reached = None if facts is None else facts.end_offset
    kept: list[Run] = []
    for run in runs:
        if reached is not None and run.end_offset <= reached:
            continue
        if reached is not None and run.base_offset > reached:
            break
        if reached is not None and kept and run.base_offset < reached:
            break
        kept.append(run)
        reached = run.end_offset
    return kept, reached or 0


# The rest


def _item(entry: tuple[str, bytes, int]) -> KeyValue:
    key, value, revision = entry
    return KeyValue(key=key, value=value, create_revision=revision, mod_revision=revision)  # type: ignore[arg-type]


def _from_snapshot(
    entries: Iterable[KeyValue], topics: Mapping[TopicId, Topic], making: _Making, now_ms: int
) -> bytes | None:
    """Groups, offsets and broker ids; returns the cluster's own record."""
    cluster: bytes | None = None
    dropped = 0
    for item in entries:
        if item.key == keys.CLUSTER:
            cluster = item.value
        elif item.key.startswith(GROUPS_PREFIX):
            record, claim = decode_group(item)
            # Its members have moved on since: they join again, in a generation that never was.
            record = replace(
                record,
                generation=record.generation + GENERATION_JUMP,
                members=(),
                leader=NO_MEMBER,
                protocol="",
                empty_since_ms=now_ms,
            )
            making.puts.append(Put(key=item.key, value=encode_group(record, claim)))
            making.groups += 1
        elif item.key.startswith(keys.OFFSETS):
            tp = partition_of_key(item.key)
            if tp.topic_id in topics:
                making.puts.append(Put(key=item.key, value=_offset(item, tp, making)))
                making.offsets += 1
            else:
                dropped += 1
        elif item.key.startswith(keys.BROKER_IDS):
            making.puts.append(Put(key=item.key, value=item.value))
    if dropped:
        making.notes.append(f"{dropped} committed offsets are of topics that are no more")
    return cluster


def _offset(item: KeyValue, tp: TopicPartition, making: _Making) -> bytes:
    """A committed offset, not beyond the end: else its group would not see what is written up to there."""
    message, end = stored.parse(messages.CommittedOffset, item), making.ends.get(tp)
    if end is None or message.offset <= end:
        return item.value
    making.notes.append(f"{item.key}: {message.offset} was committed, its data ends at {end}: now {end}")
    message.offset = end
    return message.SerializeToString()


def _producer_ids(found: Found, entries: Iterable[KeyValue]) -> Put:
    used = [chain.producer_id_max + 1 for chain in found.chains.values()]
    used += [
        facts.producer_id_max + 1 for folder in found.folders.values() for facts in folder.manifests.values()
    ]
    used += [
        stored.parse(messages.ProducerIds, item).next for item in entries if item.key == keys.PRODUCER_IDS
    ]
    value = messages.ProducerIds(next=max(used, default=0) + PRODUCER_ID_JUMP)
    return Put(key=keys.PRODUCER_IDS, value=value.SerializeToString())
