"""Which chain positions a partition still needs once everything below an offset is compacted. Pure.

Owns: that arithmetic. Does not own: the commit that forgets the others.
Rules: 1 a position is needed from the first object with a record at or above the offset on, what is not
durable yet included; 2 where nothing is left of the own one, it begins where the chain is durable: whatever
is appended from now on is behind that. Not at the chain's next object: what is in flight may never land, and
then nobody could read that far (design section 3, rule 7).
"""

from dataclasses import replace

from libs.model.cluster import ChainPosition
from libs.model.ids import ChainSeq, LeaderEpoch, SessionId
from services.partition_owner.partition import Partition


def needed_positions(
    partition: Partition,
    positions: tuple[ChainPosition, ...],
    *,
    end_offset: int,
    durable_seq: ChainSeq,
) -> tuple[ChainPosition, ...]:
    """What is left of `positions`, the own one last. `durable_seq`: of the own chain, now."""
    first = _first_seqs(partition, end_offset)
    *others, own = positions
    kept = []
    for position in others:
        seq = first.get((position.session, position.leader_epoch))
        if seq is not None:
            kept.append(replace(position, from_seq=max(position.from_seq, seq)))
    own_seq = first.get((own.session, own.leader_epoch), durable_seq)
    return (*kept, replace(own, from_seq=max(own.from_seq, own_seq)))


def _first_seqs(partition: Partition, end_offset: int) -> dict[tuple[SessionId, LeaderEpoch], ChainSeq]:
    """The first object of each session and epoch that has a record at or above the offset."""
    log = partition.log
    first: dict[tuple[SessionId, LeaderEpoch], ChainSeq] = {}
    for index in range(log.index_of(max(end_offset, log.compacted_end)), len(log)):
        found = log.range_at(index)
        first.setdefault((found.session, found.leader_epoch), found.seq)
    return first
