"""What the store still names, for those who collect objects; and ending what is collected.

Owns: GetReferences, the end of SESSIONS and DELETING. Does not own: what may be deleted (the owners').
Rules:
1 an answer is of one revision: the first read gives it, every other is of it. The first read is linearizable
  and begins after the request, so whatever was committed before the request is in the answer;
2 a session's record and a deleted topic's are the evidence by which their objects may be collected: they end
  last, when the collector says that nothing is left, and only while nothing names them: the revision that
  showed it is compared, with the owner's registration, through which alone a session could be named again;
3 an answer is bounded by its request, and what is collectable by COLLECTABLE_MAX.

Why one revision, and not pages as they come: references move. A session is named by an assignment, then by
the state of the partition that it opened, then by a predecessor, then by closed positions only; a topic moves
from `topics/` to `deleting/`. Whoever reads the target before the source misses what moved in between.
"""

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import structlog

from libs.model.errors import Fenced, Invalid, Reason
from libs.model.ids import ChainSeq, OwnerId, Revision, SessionId, TopicId, TopicPartition
from libs.model.references import (
    DeletedTopicReference,
    PartitionReferences,
    References,
    SessionReferences,
    TopicPhase,
)
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, stored
from services.metadata.cache import PAGE_ITEMS
from services.metadata.kv.port import ABSENT, KV, Delete, KeyValue, ModRevisionIs
from services.metadata.stored import DeletedTopic, SessionRecord, Stored

ASKED_MAX = 1000
COLLECTABLE_MAX = 1000
_ATTEMPTS_MAX = 5

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Named:
    """Who names which session, at one revision."""

    revision: Revision
    cluster_id: str = ""
    records: dict[SessionId, Stored[SessionRecord]] = field(default_factory=dict)
    registrations: dict[OwnerId, tuple[SessionId, Revision]] = field(default_factory=dict)
    assigned: set[SessionId] = field(default_factory=set)
    predecessors: set[SessionId] = field(default_factory=set)
    least_from: dict[SessionId, ChainSeq] = field(default_factory=dict)
    partitions: dict[TopicPartition, PartitionReferences] = field(default_factory=dict)
    existing: set[TopicId] = field(default_factory=set)
    deleting: dict[TopicId, Stored[DeletedTopic]] = field(default_factory=dict)

    def session(self, session: SessionId) -> SessionReferences:
        record = self.records.get(session)
        return SessionReferences(
            session=session,
            recorded=record is not None,
            sealed_at=None if record is None else record.value.sealed_at,
            registered=any(registered == session for registered, _ in self.registrations.values()),
            assigned=session in self.assigned,
            predecessor=session in self.predecessors,
            least_from_seq=self.least_from.get(session),
        )

    def topic(self, topic_id: TopicId) -> TopicPhase:
        if topic_id in self.existing:
            return TopicPhase.EXISTS
        known = self.deleting.get(topic_id)
        if known is None:
            return TopicPhase.UNKNOWN
        return TopicPhase.DELETED if known.value.partitions_removed else TopicPhase.DELETING


class ReferenceReader:
    """Any replica answers; nothing is taken from its cache."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def get(
        self,
        *,
        sessions: Sequence[SessionId] = (),
        partitions: Sequence[TopicPartition] = (),
        topics: Sequence[TopicId] = (),
        collectable: bool = False,
    ) -> References:
        """Linearizable. Raises Invalid for more than ASKED_MAX of a kind, Unavailable."""
        for asked in (sessions, partitions, topics):
            if len(asked) > ASKED_MAX:
                raise Invalid(f"{len(asked)} references are asked for; at most {ASKED_MAX} are possible")
        named = await self._read(frozenset(partitions), all_sessions=bool(sessions) or collectable)
        dead = [each for session in named.records if (each := named.session(session)).dead]
        deleted = [
            DeletedTopicReference(
                topic_id=topic_id, name=known.value.topic.name, deleted_ms=known.value.deleted_ms
            )
            for topic_id, known in named.deleting.items()
            if named.topic(topic_id) is TopicPhase.DELETED
        ]
        return References(
            revision=named.revision,
            cluster_id=named.cluster_id,
            sessions={session: named.session(session) for session in sessions},
            partitions=named.partitions,
            topics={topic_id: named.topic(topic_id) for topic_id in topics},
            dead_sessions=tuple(dead[:COLLECTABLE_MAX]) if collectable else (),
            deleted_topics=tuple(deleted[:COLLECTABLE_MAX]) if collectable else (),
        )

    async def forget(self, *, sessions: Sequence[SessionId], topics: Sequence[TopicId]) -> int:
        """Ends the records of these where nothing names them; returns how many ended. Raises Unavailable."""
        named = await self._read(frozenset(), all_sessions=True)
        ended = 0
        for session in sessions:
            found, record = named.session(session), named.records.get(session)
            if record is None or not found.dead or found.least_from_seq is not None:
                continue
            owner_id = record.value.owner_id
            _, registration = named.registrations.get(owner_id, (None, ABSENT))
            guards = [
                ModRevisionIs(key=keys.session(session), revision=record.revision),
                # A registration names its session: were it back, the record would be needed.
                ModRevisionIs(key=keys.owner(owner_id), revision=registration),
            ]
            ended += (await self._kv.txn(guards, [Delete(key=keys.session(session))])).succeeded
        for topic_id in topics:
            if named.topic(topic_id) is TopicPhase.DELETED:
                guard = ModRevisionIs(key=keys.deleting(topic_id), revision=named.deleting[topic_id].revision)
                ended += (await self._kv.txn([guard], [Delete(key=keys.deleting(topic_id))])).succeeded
        if ended:
            log.info("collected_forgotten", records=ended)
        return ended

    async def _read(self, partitions: AbstractSet[TopicPartition], *, all_sessions: bool) -> _Named:
        for attempt in range(_ATTEMPTS_MAX):
            try:
                return await self._read_once(partitions, all_sessions=all_sessions)
            except Fenced as error:  # the revision was compacted while its pages were read
                if error.reason is not Reason.GUARD_FAILED or attempt == _ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError("the last attempt raises")

    async def _read_once(self, partitions: AbstractSet[TopicPartition], *, all_sessions: bool) -> _Named:
        first = await self._kv.range(keys.CLUSTER, limit=1)
        named = _Named(revision=first.revision)
        for item in first.items:
            named.cluster_id = stored.parse(messages.ClusterInfo, item).cluster_id
        for item in await self._items(keys.TOPICS, named.revision):
            named.existing.add(stored.topic(item).value.topic_id)
        for item in await self._items(keys.DELETING, named.revision):
            named.deleting[TopicId(keys.last_id_of(item.key))] = stored.deleted_topic(item)
        if all_sessions:
            await self._read_sessions(named)
        elif partitions:
            await self._read_partitions(named, partitions)
        if all_sessions and partitions:
            await self._read_partitions(named, partitions)
        return named

    async def _read_sessions(self, named: _Named) -> None:
        for item in await self._items(keys.SESSIONS, named.revision):
            named.records[SessionId(keys.last_id_of(item.key))] = stored.session(item)
        for item in await self._items(keys.OWNERS, named.revision):
            owner = stored.owner(item)
            named.registrations[owner.value.owner_id] = (owner.value.session, owner.revision)
        for item in await self._items(keys.ASSIGNMENTS, named.revision):
            assignment = stored.assignment(item).value
            named.assigned.add(assignment.session)
            named.predecessors.update(each.session for each in assignment.predecessors)
        for item in await self._items(keys.PARTITIONS, named.revision):
            for position in stored.partition_state(item).value.positions:
                least = named.least_from.get(position.session, position.from_seq)
                named.least_from[position.session] = min(least, position.from_seq)

    async def _read_partitions(self, named: _Named, wanted: AbstractSet[TopicPartition]) -> None:
        """By topic: a range of each costs less than two reads for each partition."""
        by_topic: defaultdict[TopicId, set[TopicPartition]] = defaultdict(set)
        for at in wanted:
            by_topic[at.topic_id].add(at)
        for topic_id, of_topic in by_topic.items():
            states = {
                keys.topic_partition_of(item.key): stored.partition_state(item).value
                for item in await self._items(keys.partitions_of(topic_id), named.revision)
            }
            for item in await self._items(keys.assignments_of(topic_id), named.revision):
                at = keys.topic_partition_of(item.key)
                if at not in of_topic:
                    continue
                assignment, state = stored.assignment(item).value, states.get(at)
                own = (assignment.session, assignment.leader_epoch)
                positions = () if state is None else state.positions
                named.partitions[at] = PartitionReferences(
                    session=assignment.session,
                    leader_epoch=assignment.leader_epoch,
                    opened=any((each.session, each.leader_epoch) == own for each in positions),
                    manifest_key="" if state is None else state.manifest_key,
                )

    async def _items(self, prefix: str, revision: Revision) -> list[KeyValue]:
        items: list[KeyValue] = []
        more = True
        while more:
            start_after = items[-1].key if items else ""
            page = await self._kv.range(prefix, start_after=start_after, limit=PAGE_ITEMS, revision=revision)
            items.extend(page.items)
            more = page.more
        return items
