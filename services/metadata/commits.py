"""What an owner's commit may change of its partition's state (design rules 14 to 17). Pure.

Owns: who may commit, and that nothing goes back. Does not own: the transaction (partitions.py).
Rules: 1 the session and epoch of the caller hold the assignment, and it is not on its way to another: after a
release was sent nothing may be committed, and before it a commit would only be in its way; 2 log start,
own from_seq and the manifest's (epoch, n) never go back (promise 4); 3 a commit forgets closed positions, or
their first objects, and never adds or ends one: that is what opening and releasing are for.
"""

from dataclasses import replace

from libs.model.cluster import Assignment, AssignmentState, ChainPosition, PartitionState
from libs.model.errors import Invalid, Moved
from libs.model.ids import ChainSeq, LeaderEpoch, SessionId, TopicPartition
from libs.segments.keys import ManifestName, parse_manifest_key

_ANY_SEQ = ChainSeq(0)


def check_holder(
    at: TopicPartition, assignment: Assignment, session: SessionId, leader_epoch: LeaderEpoch
) -> None:
    """Raises Moved unless the assignment is that session's under that epoch, and stays so."""
    if (assignment.session, assignment.leader_epoch) != (session, leader_epoch):
        raise Moved(f"partition {at} is at epoch {assignment.leader_epoch}, with {assignment.owner_id}")
    if assignment.state is not AssignmentState.ASSIGNED:
        raise Moved(f"partition {at} is being released: commit nothing, hand it over")


def check_commit(
    at: TopicPartition, assignment: Assignment, before: PartitionState | None, new: PartitionState
) -> None:
    """Raises Invalid for a state that can't follow the one before."""
    if before is None or not before.positions or not _is_own(before.positions[-1], assignment):
        raise Invalid(f"partition {at} was never opened under epoch {assignment.leader_epoch}")
    if not new.positions or not _is_own(new.positions[-1], assignment):
        raise Invalid("the last position must be the owner's own, open, under the assignment's epoch")
    if new.released_offset is not None:
        raise Invalid("a commit releases nothing")
    if new.log_start_offset < before.log_start_offset:
        raise Invalid(f"the log start would go back from {before.log_start_offset} to {new.log_start_offset}")
    _check_positions(before.positions, new.positions)
    _check_manifest(at, assignment, before.manifest_key, new.manifest_key)


def _is_own(position: ChainPosition, assignment: Assignment) -> bool:
    own = (assignment.session, assignment.leader_epoch)
    return position.to_seq is None and (position.session, position.leader_epoch) == own


def _check_positions(before: tuple[ChainPosition, ...], new: tuple[ChainPosition, ...]) -> None:
    rest = iter(before)
    for position in new:
        known = next((each for each in rest if _whole(each) == _whole(position)), None)
        if known is None:
            raise Invalid(f"a commit can't bring the position {position}")
        if position.from_seq < known.from_seq:
            raise Invalid(f"a position would go back from seq {known.from_seq} to {position.from_seq}")
        if position.to_seq is not None and position.from_seq >= position.to_seq:
            raise Invalid(f"the position {position} has no objects left: leave it out")


def _whole(position: ChainPosition) -> ChainPosition:
    return replace(position, from_seq=_ANY_SEQ)


def _check_manifest(at: TopicPartition, assignment: Assignment, before: str, new: str) -> None:
    if new == before:
        return
    parsed = parse_manifest_key(new)
    if parsed is None or (parsed[0].topic_id, parsed[0].partition) != at:
        raise Invalid(f"{new!r} is no manifest of partition {at}")
    name = parsed[1]
    if name.leader_epoch != assignment.leader_epoch:
        raise Invalid(f"the manifest {new} is not of epoch {assignment.leader_epoch}")
    if before and name <= _name(before):
        raise Invalid(f"the manifest would go back from {before} to {new}")


def _name(key: str) -> ManifestName:
    parsed = parse_manifest_key(key)
    if parsed is None:
        raise Invalid(f"the state names {key!r}, which is no manifest")
    return parsed[1]
