"""The model's small values as production's, and back; each is made once.

Owns: ids, the topic, conversions. Does not own: what is decided with them.
"""

from functools import cache
from uuid import UUID

from libs.model.cluster import (
    Assignment,
    AssignmentState,
    ChainPosition,
    Owner,
    PartitionState,
    Predecessor,
    Topic,
)
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
from tests.model.partition.world import OPEN_END, OWNERS, Assigned, Position, State

TOPIC = Topic(name=TopicName("t"), topic_id=TopicId(UUID(int=100)), partitions=1)
TP = TopicPartition(TOPIC.topic_id, Partition(0))


@cache
def session_id(index: int) -> SessionId:
    return SessionId(UUID(int=index + 1))


def session_index(session: SessionId) -> int:
    return session.int - 1


@cache
def owner(index: int, *, draining: bool = False) -> Owner:
    owner_id = OwnerId(OWNERS[index])
    return Owner(
        owner_id=owner_id, address=f"{owner_id}:1", zone="", session=session_id(index), draining=draining
    )


@cache
def assignment(of: Assigned) -> Assignment:
    return Assignment(
        topic_id=TP.topic_id,
        partition=TP.partition,
        owner_id=OwnerId(OWNERS[of.session]),
        session=session_id(of.session),
        leader_epoch=LeaderEpoch(of.epoch),
        state=AssignmentState.RELEASING if of.releasing else AssignmentState.ASSIGNED,
        predecessors=tuple(
            Predecessor(session=session_id(session), leader_epoch=LeaderEpoch(epoch))
            for session, epoch in of.predecessors
        ),
        target_owner_id=OwnerId(of.target) if of.target else None,
    )


def assigned(of: Assignment) -> Assigned:
    return Assigned(
        session=session_index(of.session),
        epoch=of.leader_epoch,
        releasing=of.state is AssignmentState.RELEASING,
        predecessors=tuple((session_index(each.session), each.leader_epoch) for each in of.predecessors),
        target=of.target_owner_id or "",
    )


@cache
def chain_position(of: Position) -> ChainPosition:
    return ChainPosition(
        session=session_id(of.session),
        leader_epoch=LeaderEpoch(of.epoch),
        from_seq=ChainSeq(of.start),
        to_seq=None if of.end == OPEN_END else ChainSeq(of.end),
    )


@cache
def partition_state(of: State) -> PartitionState:
    return PartitionState(
        positions=tuple(map(chain_position, of.positions)),
        released_offset=None if of.released < 0 else Offset(of.released),
    )


def state(of: PartitionState) -> State:
    return State(
        positions=tuple(
            Position(
                session=session_index(each.session),
                epoch=each.leader_epoch,
                start=each.from_seq,
                end=OPEN_END if each.to_seq is None else each.to_seq,
            )
            for each in of.positions
        ),
        released=-1 if of.released_offset is None else of.released_offset,
    )
