"""The controller: one elected replica that assigns partitions.

Owns: the key CONTROLLER, and ASSIGNMENTS but for the owner's part. Does not own: what is to be done
(planning.py), whom to wait for (grace.py).
Rules:
1 every write compares the key by which this replica was elected, so that a controller whose time is over
  writes nothing; and the registrations of those who get partitions, and what is changed;
2 a write whose guard fails was planned on an old state: the state catches up, and the plan is made anew;
3 a partition's new owner has to seal (session, epoch) before it opens, unless the state, compared in the same
  transaction, shows that this session never opened the partition under that epoch (partitions.py, rule 2).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.cluster import Assignment, AssignmentState, Owner, PartitionState, Predecessor, Topic
from libs.model.errors import KafscaleError
from libs.model.ids import LeaderEpoch, OwnerId, Partition, Revision, TopicId, TopicPartition
from libs.model.limits import TXN_OPERATIONS_MAX
from services.metadata import keys, stored
from services.metadata.cache import PAGE_ITEMS, Cache
from services.metadata.grace import Grace
from services.metadata.kv.port import ABSENT, KV, Delete, ModRevisionIs, Put
from services.metadata.planning import Plan, plan
from services.metadata.replica import ReplicaLease
from services.metadata.stored import ControllerRecord, Stored
from services.metadata.writes import write

PARTITIONS_PER_TXN = 50
TARGETS_PER_TXN = 25
READS_AT_ONCE_MAX = 16
_BACKOFF = Backoff(first_seconds=0.05, max_seconds=1.0)

# Two compares a partition, one a target, one for the controller; one operation a partition and one for the
# topic.
assert 2 * PARTITIONS_PER_TXN + TARGETS_PER_TXN + 2 <= TXN_OPERATIONS_MAX

log = structlog.get_logger(__name__)


class Controller:
    """Campaigns for ever; while elected, works."""

    def __init__(
        self,
        kv: KV,
        cache: Cache,
        lease: ReplicaLease,
        *,
        rand: Rand,
        grace: Grace,
        moves_max: int,
    ) -> None:
        self._kv = kv
        self._cache = cache
        self._lease = lease
        self._rand = rand
        self._grace = grace
        self._moves_max = moves_max
        self._elected_at: Revision | None = None
        self._refused = 0

    @property
    def elected(self) -> bool:
        return self.guard() is not None

    def guard(self) -> ModRevisionIs | None:
        """What every write of this controller compares; None while this replica is not elected."""
        if self._elected_at is None or not self._holds(self._elected_at):
            return None
        return ModRevisionIs(key=keys.CONTROLLER, revision=self._elected_at)

    async def run(self) -> None:
        """Ends only by cancellation."""
        await self._cache.wait_loaded()
        failures = 0
        while True:
            try:
                elected_at = await self._campaign()
                failures = 0
                await self._lead(elected_at)
            except KafscaleError as error:
                failures += 1
                log.warning("controller_failed", reason=error.reason.value, error=error.message)
            finally:
                self._elected_at = None
            if failures:
                await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))

    # Being elected

    async def _campaign(self) -> Revision:
        """Returns the revision of this replica's election."""
        while True:
            lease_id = await self._lease.wait_registered()
            holder = self._cache.state.controller
            me = self._lease.replica
            mine = holder is not None and holder.value.replica_id == me.replica_id
            # An earlier life of this very replica is over: its claim need not run out.
            if holder is not None and not (mine and holder.value.session != me.session):
                if mine and holder.lease_id == lease_id:
                    return holder.revision
                await self._cache.wait_changed()
                continue
            record = ControllerRecord(replica_id=me.replica_id, session=me.session)
            put = Put(key=keys.CONTROLLER, value=stored.controller_bytes(record), lease_id=lease_id)
            guard = ModRevisionIs(key=keys.CONTROLLER, revision=ABSENT if holder is None else holder.revision)
            revision = await write(self._kv, [guard], [put])
            if revision is None:
                await self._cache.catch_up()
                continue
            await self._cache.wait_revision(revision)
            return revision

    def _holds(self, elected_at: Revision) -> bool:
        holder = self._cache.state.controller
        return holder is not None and holder.revision == elected_at

    async def _lead(self, elected_at: Revision) -> None:
        log.info("controller_elected", replica=self._lease.replica.replica_id, revision=elected_at)
        self._elected_at = elected_at
        self._grace.begin(lease_held_since=self._lease.held_since, present=self._cache.state.owners)
        while self._holds(elected_at):
            await self._work_once()
        log.info("controller_over", replica=self._lease.replica.replica_id)

    # Working

    async def _work_once(self) -> None:
        state = self._cache.state
        now = trio.current_time()
        leaving = {record.value.owner_id for record in state.sessions.values() if record.value.draining} | {
            record.value.owner_id
            for record in state.sessions.values()
            if state.is_sealed(record.value.session)
        }
        self._grace.observe(now, state.owners, leaving=leaving)
        grace = self._grace.lasts(now)
        work = plan(state, grace=grace, moves_max=self._moves_max)
        if not work.empty:
            await self._do(work)
            return
        planned = state.plan_version
        with trio.move_on_at(self._grace.until if grace else float("inf")):
            while self._cache.state is state and state.plan_version == planned:
                await self._cache.wait_changed()

    async def _do(self, work: Plan) -> None:
        if work.adopt:
            await self._adopt(work.adopt)
        for topic in work.go_live:
            topic_id = topic.value.topic_id
            await self._create(topic, {at: who for at, who in work.create.items() if at.topic_id == topic_id})
        if work.hand_over:
            await self._hand_over(work.hand_over)
        for topic_id in work.remove:
            await self._remove(topic_id)

    async def _write(self, guards: Iterable[ModRevisionIs], ops: Sequence[Put | Delete]) -> bool:
        """False where nothing was written: what was planned on top of it must not be written either."""
        guard = self.guard()
        if guard is None:
            return False
        revision = await write(self._kv, [guard, *guards], ops)
        if revision is not None:
            self._refused = 0
            await self._cache.wait_revision(revision)
            return True
        self._refused += 1
        await trio.sleep(_BACKOFF.delay_seconds(self._refused, self._rand))
        await self._cache.catch_up()
        return False

    async def _adopt(self, adopt: Mapping[TopicPartition, OwnerId]) -> None:
        states = await self._partition_states({at.topic_id for at in adopt})
        for chunk, owners, guards in self._chunks(adopt):
            ops: list[Put | Delete] = []
            for at in chunk:
                before = self._cache.state.assignment(at)
                if before is None:
                    continue
                state = states.get(at)
                after = _adopted(before.value, owners[adopt[at]], None if state is None else state.value)
                guards.append(ModRevisionIs(key=keys.assignment(at), revision=before.revision))
                revision = ABSENT if state is None else state.revision
                guards.append(ModRevisionIs(key=keys.partition(at), revision=revision))
                ops.append(Put(key=keys.assignment(at), value=stored.assignment_bytes(after)))
            if ops:
                log.info("partitions_adopted", partitions=len(ops))
                await self._write(guards, ops)

    async def _create(self, topic: Stored[Topic], owners_of: Mapping[TopicPartition, OwnerId]) -> None:
        guard = ModRevisionIs(key=keys.topic(topic.value.name), revision=topic.revision)
        live = Put(
            key=keys.topic(topic.value.name), value=stored.topic_bytes(replace(topic.value, live=True))
        )
        # Counted by number: assignments beyond the topic's partitions must neither hide one nor be missed.
        assigned = self._cache.state.assignments.get(topic.value.topic_id, {})
        left = sum(Partition(index) not in assigned for index in range(topic.value.partitions))
        for chunk, owners, guards in self._chunks(owners_of):
            ops: list[Put | Delete] = []
            for at in chunk:
                owner = owners[owners_of[at]]
                first = Assignment(
                    topic_id=at.topic_id,
                    partition=at.partition,
                    owner_id=owner.owner_id,
                    session=owner.session,
                    leader_epoch=LeaderEpoch(0),
                )
                guards.append(ModRevisionIs(key=keys.assignment(at), revision=ABSENT))
                ops.append(Put(key=keys.assignment(at), value=stored.assignment_bytes(first)))
            left -= len(ops)
            if left == 0:
                ops.append(live)
            if not await self._write([guard, *guards], ops):
                return  # were the last chunk written all the same, the topic would go live without this one
        if not owners_of and left == 0:
            await self._write([guard], [live])

    async def _hand_over(self, hand_over: Mapping[TopicPartition, OwnerId]) -> None:
        for chunk, _, guards in self._chunks(hand_over):
            ops: list[Put | Delete] = []
            for at in chunk:
                before = self._cache.state.assignment(at)
                if before is None:
                    continue
                after = replace(before.value, state=AssignmentState.RELEASING, target_owner_id=hand_over[at])
                guards.append(ModRevisionIs(key=keys.assignment(at), revision=before.revision))
                ops.append(Put(key=keys.assignment(at), value=stored.assignment_bytes(after)))
            if ops:
                log.info("partitions_releasing", partitions=len(ops))
                await self._write(guards, ops)

    async def _remove(self, topic_id: TopicId) -> None:
        """Assignment and state go in one transaction: no owner opens a partition in between."""
        known = self._cache.state.deleting.get(topic_id)
        if known is None:
            return
        at_all = [
            TopicPartition(topic_id, partition)
            for partition in self._cache.state.assignments.get(topic_id, {})
        ]
        for begin in range(0, len(at_all), PARTITIONS_PER_TXN):
            chunk = at_all[begin : begin + PARTITIONS_PER_TXN]
            ops = [Delete(key=key(at)) for at in chunk for key in (keys.assignment, keys.partition)]
            if not await self._write([], ops):
                return
        done = replace(known.value, partitions_removed=True)
        guard = ModRevisionIs(key=keys.deleting(topic_id), revision=known.revision)
        put = Put(key=keys.deleting(topic_id), value=stored.deleted_topic_bytes(done))
        await self._write([guard], [put])

    # What writes stand on

    def _chunks(
        self, owners_of: Mapping[TopicPartition, OwnerId]
    ) -> Iterator[tuple[list[TopicPartition], Mapping[OwnerId, Owner], list[ModRevisionIs]]]:
        """Partitions of a transaction, those who get them, and the guards of their registrations."""
        in_order = sorted(owners_of, key=lambda at: (owners_of[at], at))
        while in_order:
            chunk: list[TopicPartition] = []
            owners: dict[OwnerId, Owner] = {}
            guards: list[ModRevisionIs] = []
            for at in in_order[:PARTITIONS_PER_TXN]:
                owner_id = owners_of[at]
                owner = self._cache.state.owners.get(owner_id)
                if owner is None or (owner_id not in owners and len(owners) == TARGETS_PER_TXN):
                    break
                if owner_id not in owners:
                    owners[owner_id] = owner.value
                    guards.append(ModRevisionIs(key=keys.owner(owner_id), revision=owner.revision))
                chunk.append(at)
            if not chunk:
                return  # its owner left meanwhile: a new plan is needed
            del in_order[: len(chunk)]
            yield chunk, owners, guards

    async def _partition_states(
        self, topic_ids: Iterable[TopicId]
    ) -> dict[TopicPartition, Stored[PartitionState]]:
        found: dict[TopicPartition, Stored[PartitionState]] = {}
        errors: list[KafscaleError] = []
        limiter = trio.CapacityLimiter(READS_AT_ONCE_MAX)

        async def read(topic_id: TopicId) -> None:
            try:
                async with limiter:
                    found.update(await self._states_of(topic_id))
            except KafscaleError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for topic_id in topic_ids:
                nursery.start_soon(read, topic_id)
        if errors:
            raise errors[0]
        return found

    async def _states_of(self, topic_id: TopicId) -> dict[TopicPartition, Stored[PartitionState]]:
        found: dict[TopicPartition, Stored[PartitionState]] = {}
        start_after, more = "", True
        while more:
            page = await self._kv.range(
                keys.partitions_of(topic_id), start_after=start_after, limit=PAGE_ITEMS
            )
            for item in page.items:
                found[keys.topic_partition_of(item.key)] = stored.partition_state(item)
                start_after = item.key
            more = page.more
        return found


def _adopted(before: Assignment, owner: Owner, state: PartitionState | None) -> Assignment:
    own = (before.session, before.leader_epoch)
    may_have_written = state is not None and any(
        (position.session, position.leader_epoch) == own for position in state.positions
    )
    predecessors = before.predecessors
    if may_have_written:
        predecessors += (Predecessor(session=before.session, leader_epoch=before.leader_epoch),)
    return replace(
        before,
        owner_id=owner.owner_id,
        session=owner.session,
        leader_epoch=LeaderEpoch(before.leader_epoch + 1),
        state=AssignmentState.ASSIGNED,
        predecessors=predecessors,
        target_owner_id=None,
    )
