"""What owners do with their partitions: read, open, commit, release (design rules 10, 11, 14 and 15).

Owns: the key PARTITIONS, and the owner's part in ASSIGNMENTS (clearing predecessors, handing over).
Does not own: who gets what (planning.py), except a hand-over's next owner where the meant one is gone.
Rules:
1 every write compares the assignment, so that an owner whose time is over changes nothing;
2 a session appends under an epoch only after its open position is in the state, in the store: the controller
  relies on it when it decides whom a new owner must seal;
3 a release is one-way: it always ends in a higher epoch, on whoever is there to take it.
"""

from dataclasses import dataclass, replace

from libs.model.cluster import Assignment, AssignmentState, ChainPosition, Owner, PartitionState
from libs.model.errors import Fenced, Invalid, Moved, NotFound, Reason
from libs.model.ids import ChainSeq, LeaderEpoch, Offset, OwnerId, Revision, SessionId, TopicPartition
from services.metadata import keys, stored
from services.metadata.assignment import Candidate, place
from services.metadata.cache import Cache
from services.metadata.commits import check_commit, check_holder
from services.metadata.kv.port import ABSENT, KV, ModRevisionIs, Put
from services.metadata.stored import Stored
from services.metadata.writes import ATTEMPTS_MAX, contended, write


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRecord:
    """A partition's assignment and state (None where it was never opened), to be guarded by both
    revisions.
    """

    at: TopicPartition
    assignment: Stored[Assignment]
    state: Stored[PartitionState] | None

    @property
    def state_revision(self) -> Revision:
        return ABSENT if self.state is None else self.state.revision

    def guards(self) -> list[ModRevisionIs]:
        return [
            ModRevisionIs(key=keys.assignment(self.at), revision=self.assignment.revision),
            ModRevisionIs(key=keys.partition(self.at), revision=self.state_revision),
        ]


class Partitions:
    def __init__(self, kv: KV, cache: Cache) -> None:
        self._kv = kv
        self._cache = cache

    async def get(self, at: TopicPartition) -> PartitionRecord:
        """Linearizable. Raises NotFound where there is no such partition (any more)."""
        item = await self._kv.get(keys.assignment(at))
        if item is None:
            raise NotFound(f"partition {at} is not assigned", reason=Reason.UNKNOWN_TOPIC_OR_PARTITION)
        return await self._with_state(at, stored.assignment(item))

    async def _get_to_write(self, at: TopicPartition, assignment_revision: Revision) -> PartitionRecord:
        """For who writes only where the assignment still is of this revision: the cache may know it, and a
        revision has one value. Many partitions are opened at a time.
        """
        known = self._cache.state.assignment(at)
        if known is not None and known.revision == assignment_revision:
            return await self._with_state(at, known)
        return await self.get(at)

    async def _with_state(self, at: TopicPartition, assignment: Stored[Assignment]) -> PartitionRecord:
        state = await self._kv.get(keys.partition(at))
        return PartitionRecord(
            at=at, assignment=assignment, state=None if state is None else stored.partition_state(state)
        )

    async def open(
        self,
        at: TopicPartition,
        new: PartitionState,
        *,
        assignment_revision: Revision,
        state_revision: Revision,
    ) -> PartitionRecord:
        """Rule 10: records the owner's open position and clears its predecessors.

        Raises Fenced(GUARD_FAILED) where the record is not of these revisions, NotFound, and Invalid for a
        state that can't follow the one before.
        """
        record = await self._get_to_write(at, assignment_revision)
        if (record.assignment.revision, record.state_revision) != (assignment_revision, state_revision):
            raise _changed(at)
        assignment = record.assignment.value
        _check_opened(assignment, None if record.state is None else record.state.value, new)
        ops = [Put(key=keys.partition(at), value=stored.partition_state_bytes(new))]
        if assignment.predecessors:
            assignment = replace(assignment, predecessors=())
            ops.append(Put(key=keys.assignment(at), value=stored.assignment_bytes(assignment)))
        revision = await write(self._kv, record.guards(), ops)
        if revision is None:
            raise _changed(at)
        return PartitionRecord(
            at=at,
            assignment=Stored(
                value=assignment, revision=revision if len(ops) > 1 else record.assignment.revision
            ),
            state=Stored(value=new, revision=revision),
        )

    async def commit(
        self,
        at: TopicPartition,
        new: PartitionState,
        *,
        session: SessionId,
        leader_epoch: LeaderEpoch,
        assignment_revision: Revision,
        state_revision: Revision,
    ) -> PartitionRecord:
        """Rules 14 and 15: what the owner compacted, and where its log starts.

        Raises Moved where the partition is not that session's under that epoch, or is being released;
        Fenced(GUARD_FAILED) where the record is not of these revisions; NotFound; Invalid for a state that
        can't follow the one before.
        """
        record = await self.get(at)
        check_holder(at, record.assignment.value, session, leader_epoch)
        if (record.assignment.revision, record.state_revision) != (assignment_revision, state_revision):
            raise _changed(at)
        check_commit(at, record.assignment.value, None if record.state is None else record.state.value, new)
        op = Put(key=keys.partition(at), value=stored.partition_state_bytes(new))
        revision = await write(self._kv, record.guards(), [op])
        if revision is None:
            raise _changed(at)
        return PartitionRecord(
            at=at, assignment=record.assignment, state=Stored(value=new, revision=revision)
        )

    async def release(
        self,
        at: TopicPartition,
        *,
        session: SessionId,
        leader_epoch: LeaderEpoch,
        opened: bool,
        to_seq: ChainSeq,
        released_offset: Offset,
    ) -> PartitionRecord:
        """Rule 11: closes the owner's position and gives the partition on, with epoch + 1.

        Raises Moved where the assignment is not that session's under that epoch any more, NotFound, Invalid.
        """
        for _ in range(ATTEMPTS_MAX):
            record = await self.get(at)
            before = record.assignment.value
            if (before.session, before.leader_epoch) != (session, leader_epoch):
                raise Moved(f"partition {at} is at epoch {before.leader_epoch}, with {before.owner_id}")
            target, guards = await self._next_owner(at, before)
            after = replace(
                before,
                owner_id=target.owner_id,
                session=target.session,
                leader_epoch=LeaderEpoch(leader_epoch + 1),
                state=AssignmentState.ASSIGNED,
                target_owner_id=None,
            )
            ops = [Put(key=keys.assignment(at), value=stored.assignment_bytes(after))]
            state = None if record.state is None else record.state.value
            if opened:
                state = _closed(at, before, state, to_seq=to_seq, released_offset=released_offset)
                ops.append(Put(key=keys.partition(at), value=stored.partition_state_bytes(state)))
            revision = await write(self._kv, [*record.guards(), *guards], ops)
            if revision is None:
                continue
            state_revision = revision if opened else record.state_revision
            return PartitionRecord(
                at=at,
                assignment=Stored(value=after, revision=revision),
                state=None if state is None else Stored(value=state, revision=state_revision),
            )
        raise contended(f"partition {at}")

    async def _next_owner(
        self, at: TopicPartition, assignment: Assignment
    ) -> tuple[Owner, list[ModRevisionIs]]:
        """The meant target where it is there, else another, else the releasing owner itself; and its
        guard.
        """
        for owner_id in self._preferences(at, assignment):
            item = await self._kv.get(keys.owner(owner_id))
            if item is not None:
                owner = stored.owner(item).value
                last_resort = owner_id == assignment.owner_id
                if last_resort or not (owner.draining or self._cache.state.is_sealed(owner.session)):
                    return owner, [ModRevisionIs(key=item.key, revision=item.mod_revision)]
        # Nobody is there: the higher epoch is written all the same, and the controller finds a gone owner.
        gone = Owner(owner_id=assignment.owner_id, address="", zone="", session=assignment.session)
        return gone, []

    def _preferences(self, at: TopicPartition, assignment: Assignment) -> list[OwnerId]:
        state = self._cache.state
        candidates = [
            Candidate(owner_id=owner_id, zone=owner.value.zone)
            for owner_id, owner in state.live_owners().items()
            if not owner.value.draining and owner_id != assignment.owner_id
        ]
        today = {each: known.value.owner_id for each, known in state.all_assignments()}
        chosen = place(candidates, [at], today).get(at)
        order = [
            assignment.target_owner_id,
            chosen,
            *(each.owner_id for each in candidates),
            assignment.owner_id,
        ]
        return list(dict.fromkeys(owner_id for owner_id in order if owner_id is not None))


def _check_opened(assignment: Assignment, before: PartitionState | None, new: PartitionState) -> None:
    own = (assignment.session, assignment.leader_epoch)
    *others, last = new.positions or (None,)
    if last is None or last.to_seq is not None or (last.session, last.leader_epoch) != own:
        raise Invalid("the last position must be the owner's own, open, under the assignment's epoch")
    if any(position is None or position.to_seq is None for position in others):
        raise Invalid("every position but the owner's own must be closed: seal the predecessors first")
    if before is not None and new.log_start_offset < before.log_start_offset:
        raise Invalid(f"the log start would go back from {before.log_start_offset} to {new.log_start_offset}")


def _closed(
    at: TopicPartition,
    assignment: Assignment,
    state: PartitionState | None,
    *,
    to_seq: ChainSeq,
    released_offset: Offset,
) -> PartitionState:
    positions: list[ChainPosition] = []
    found = False
    for position in state.positions if state is not None else ():
        if (position.session, position.leader_epoch) != (assignment.session, assignment.leader_epoch):
            positions.append(position)
            continue
        found = True
        # Else there is nothing to refer to: nothing was written under this epoch, or all of it was compacted.
        # to_seq may even be below from_seq: the owner was told to release before it heard of its own commit.
        if to_seq > position.from_seq:
            positions.append(replace(position, to_seq=to_seq))
    if state is None or not found:
        raise Invalid(f"partition {at} was never opened under epoch {assignment.leader_epoch}")
    return replace(state, positions=tuple(positions), released_offset=released_offset)


def _changed(at: TopicPartition) -> Fenced:
    return Fenced(f"partition {at} changed since it was read: read it again", reason=Reason.GUARD_FAILED)
