"""What an owner decides about an open partition, as production decides it; each is worked out once.

Owns: appends, releases, and what is found in chains. Does not own: openings (openings.py), when an owner does
what (owners.py).
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import cast

import trio
from structlog.testing import capture_logs

from libs.clients.metadata import MetadataClient
from libs.concurrency.rand import SeededRand
from libs.model.errors import Corrupt, KafscaleError, Moved, NotFound, Reason
from libs.model.ids import ChainSeq, LeaderEpoch, Offset, SessionId, TopicPartition
from libs.records import split_batches
from libs.segments.index import IndexedRange
from libs.segments.layout import NONCE_BYTES
from services.partition_owner.assembler import assemble
from services.partition_owner.flusher import Flusher
from services.partition_owner.handover import HandOver
from services.partition_owner.log import PartitionLog
from services.partition_owner.partition import NO_SEQ, Partition, PartitionPhase
from services.partition_owner.producers import ProducerStates
from services.partition_owner.rebuild import ReadPosition, rebuild
from services.partition_owner.registry import Registry
from services.partition_owner.waiting import PendingAppend
from tests.model.partition import values
from tests.model.partition.values import TOPIC, TP
from tests.model.partition.world import OPEN, RELEASING, SENT, Position, Release
from tests.support.owners import batch

Record = tuple[int, int]
Chains = tuple[tuple[Record, ...], ...]
"""(epoch, offset) of what may be read of each session's chain, by session."""
Place = tuple[int, int]
"""(session, seq)."""

_PHASES = {
    OPEN: PartitionPhase.OPEN,
    RELEASING: PartitionPhase.RELEASING,
    SENT: PartitionPhase.RELEASING,
}
_BATCH = batch("v")


# Appends


class _Sink:
    def appended(self, append: PendingAppend, base_offset: int) -> None:
        raise AssertionError("nothing is durable yet")

    def failed(self, append: PendingAppend, error: KafscaleError) -> None:
        raise error


@cache
def takes_appends(phase: str) -> bool:
    return _partition(0, 0, phase=phase).appendable


@cache
def appended(session: int, seq: int, epoch: int, opened_at: int, before: int = 0) -> IndexedRange:
    """What object `seq` says of a record that was assembled under that epoch, as the next one after `before`
    others since the partition was opened, none of them durable.
    """
    partition = _partition(session, epoch, next_offset=opened_at)
    for earlier in range(before):
        _assembled(partition, seq - before + earlier)
    return _assembled(partition, seq)


def _assembled(partition: Partition, seq: int) -> IndexedRange:
    append = PendingAppend(
        partition=partition,
        batches=split_batches(_BATCH),
        size_bytes=len(_BATCH),
        sink=_Sink(),
        correlation_id=0,
        index=0,
        log_append_time_ms=-1,
    )
    assembly = assemble(
        [append],
        session=partition.session,
        seq=ChainSeq(seq),
        nonce=bytes(NONCE_BYTES),
        created_ms=0,
        now=0.0,
        even_if_empty=False,
    )
    assert assembly.footer is not None
    return IndexedRange(ChainSeq(seq), assembly.footer.ranges[0])


def _partition(
    session: int,
    epoch: int,
    *,
    next_offset: int = 0,
    first_seq: int = 0,
    last_seq: int = NO_SEQ,
    phase: str = OPEN,
) -> Partition:
    partition = Partition(
        tp=TP,
        topic=TOPIC,
        session=values.session_id(session),
        leader_epoch=LeaderEpoch(epoch),
        log=PartitionLog(log_start=0, next_offset=next_offset),
        producers=no_producers(),
        first_seq=ChainSeq(first_seq),
    )
    partition.last_seq = last_seq
    partition.phase = _PHASES[phase]
    return partition


# Releases


class _Releasing:
    """The other sides of a release whose records are durable."""

    def __init__(self, session: int) -> None:
        self.session = values.session_id(session)
        self.release: Release | None = None

    def refuse(self, partition: Partition, error: Callable[[], Moved]) -> None:
        pass

    async def wait_durable(self, seq: int) -> None:
        pass

    async def release_partition(
        self,
        at: TopicPartition,
        *,
        session: SessionId,
        leader_epoch: LeaderEpoch,
        opened: bool,
        to_seq: ChainSeq,
        released_offset: Offset,
    ) -> None:
        self.release = Release(leader_epoch, opened, to_seq, released_offset)


@cache
def release(session: int, epoch: int, first_seq: int, last_seq: int, next_offset: int) -> Release:
    """Of an open partition, once `durable` is `assigned`."""
    partition = _partition(session, epoch, next_offset=next_offset, first_seq=first_seq, last_seq=last_seq)
    return _released(session, lambda hand_over: hand_over.release(partition))


@cache
def release_unopened(session: int, epoch: int) -> Release:
    return _released(session, lambda hand_over: hand_over.release_unopened(TP, LeaderEpoch(epoch)))


def _released(session: int, call: Callable[[HandOver], Awaitable[None]]) -> Release:
    other = _Releasing(session)

    async def run() -> None:
        hand_over = HandOver(
            flusher=cast(Flusher, other),
            metadata=cast(MetadataClient, other),
            registry=Registry(),
            rand=SeededRand(0),
            at_once_max=1,
        )
        await call(hand_over)

    with capture_logs():
        trio.run(run)
    assert other.release is not None
    return other.release


# What is found


def found(positions: Sequence[Position], released: int, chains: Chains) -> tuple[Place, ...] | None:
    """The place of the record at each offset, as who opens finds it; None: it does not fit together."""
    try:
        read = [
            ReadPosition(
                position=values.chain_position(each),
                ranges=ranges(each.session, chains, each.start, each.end),
            )
            for each in positions
        ]
        rebuilt = rebuild(
            TP,
            read,
            manifest=None,
            log_start=0,
            released_offset=None if released < 0 else released,
            producers=no_producers(),
            now=0.0,
        )
    except (Corrupt, NotFound):
        return None
    return tuple((values.session_index(each.session), each.seq) for each in rebuilt.log.ranges())


def ranges(session: int, chains: Chains, from_seq: int, to_seq: int) -> list[IndexedRange]:
    """Raises NotFound where an object is not there."""
    records = chains[session]
    if to_seq > max(len(records), from_seq):
        raise NotFound("a chain object is missing", reason=Reason.NO_SUCH_OBJECT)
    return [appended(session, seq, *records[seq]) for seq in range(from_seq, min(to_seq, len(records)))]


def no_producers() -> ProducerStates:
    return ProducerStates(expiration_seconds=1.0, count_max=1)
