"""The chain object: one flush of an owner, all its partitions in one object.

Owns: the footer with its ranges and producer runs, encoding and reading. Does not own: the frame
(`envelope.py`), which batches go in (the owner), the batches themselves (libs/records checks them).
Rules: 1 an object holds everything that is needed to rebuild from the bucket alone (design section 3, rule
2); 2 data is grouped by partition and lies without gaps, in the order of the ranges; 3 buffers are passed on,
never joined; 4 an object with no ranges is valid: a fence probe (rule 13); 5 from stored bytes only Corrupt
comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, Partition, SessionId, TopicId, TopicPartition
from libs.segments.envelope import Identity, head_bytes, trailer_bytes
from libs.segments.layout import (
    BATCH_BYTES_MIN,
    CHAIN_HEAD_BYTES,
    CHAIN_KIND_DATA,
    CHAIN_TRAILER_BYTES,
    FOOTER_HEAD,
    RANGE,
    RANGE_BYTES,
    RUN,
    RUN_BYTES,
)

SEQUENCE_MODULUS = 1 << 31


class ProducerRun(NamedTuple):
    """One batch of an idempotent producer: enough to know it again when it is sent again (KIP-98).

    Per producer and range the owner keeps at least the last PRODUCER_BATCHES_KEPT, oldest first.
    """

    producer_id: int
    producer_epoch: int
    base_sequence: int
    last_sequence: int
    base_offset: int
    max_timestamp_ms: int

    @property
    def last_offset(self) -> int:
        """Offset of the last record; sequences wrap from 2^31 - 1 to 0."""
        return self.base_offset + (self.last_sequence - self.base_sequence) % SEQUENCE_MODULUS


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRange:
    """What is to be written of one partition: whole batches, final offsets and epoch already in them."""

    tp: TopicPartition
    leader_epoch: int
    base_offset: int
    record_count: int
    max_timestamp_ms: int
    buffers: Sequence[Buffer]
    producer_runs: tuple[ProducerRun, ...] = ()


class WalRange(NamedTuple):
    """Where the batches of one partition lie in a chain object, and what they are."""

    tp: TopicPartition
    leader_epoch: int
    base_offset: int
    record_count: int
    position: int
    size_bytes: int
    max_timestamp_ms: int
    producer_runs: tuple[ProducerRun, ...] = ()

    @property
    def end_offset(self) -> int:
        """The offset after the last record."""
        return self.base_offset + self.record_count

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.record_count - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WalFooter:
    """What a chain object says about itself."""

    session: SessionId
    seq: ChainSeq
    nonce: bytes
    created_ms: int
    data_bytes: int
    ranges: tuple[WalRange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedWal:
    """A chain object ready for its PUT: the buffers in order, their size, and what a reader will see."""

    buffers: list[Buffer]
    size_bytes: int
    footer: WalFooter


def overhead_bytes(ranges: int, producer_runs: int) -> int:
    """What a chain object has beside its batches: for keeping an object below CHAIN_OBJECT_BYTES_MAX."""
    footer = FOOTER_HEAD.size + ranges * RANGE_BYTES + producer_runs * RUN_BYTES
    return CHAIN_HEAD_BYTES + footer + CHAIN_TRAILER_BYTES


def encode_wal(
    *, session: SessionId, seq: ChainSeq, nonce: bytes, created_ms: int, ranges: Sequence[PendingRange]
) -> EncodedWal:
    """Frames the ranges as one chain object. Raises ValueError for what the format can't hold."""
    buffers: list[Buffer] = [head_bytes(CHAIN_KIND_DATA)]
    written: list[WalRange] = []
    position = CHAIN_HEAD_BYTES
    for pending in ranges:
        size_bytes = sum(memoryview(buffer).nbytes for buffer in pending.buffers)
        wal_range = WalRange(
            tp=pending.tp,
            leader_epoch=pending.leader_epoch,
            base_offset=pending.base_offset,
            record_count=pending.record_count,
            position=position,
            size_bytes=size_bytes,
            max_timestamp_ms=pending.max_timestamp_ms,
            producer_runs=pending.producer_runs,
        )
        wrong = _wrong_with(wal_range)
        if wrong:
            raise ValueError(wrong)
        written.append(wal_range)
        buffers.extend(pending.buffers)
        position += size_bytes
    data_bytes = position - CHAIN_HEAD_BYTES
    footer = encode_ranges(written)
    identity = Identity(session=session, seq=seq, nonce=nonce, created_ms=created_ms)
    trailer = trailer_bytes(CHAIN_KIND_DATA, identity, data_bytes=data_bytes, footer=footer)
    buffers.append(footer + trailer)
    return EncodedWal(
        buffers=buffers,
        size_bytes=position + len(footer) + len(trailer),
        footer=WalFooter(
            session=session,
            seq=seq,
            nonce=nonce,
            created_ms=created_ms,
            data_bytes=data_bytes,
            ranges=tuple(written),
        ),
    )


def encode_ranges(ranges: Sequence[WalRange]) -> bytes:
    """Counts, then the ranges, then all their runs: the body of a footer."""
    run_count = sum(len(wal_range.producer_runs) for wal_range in ranges)
    parts = [FOOTER_HEAD.pack(len(ranges), run_count)]
    parts += [
        RANGE.pack(
            wal_range.tp.topic_id.bytes,
            wal_range.tp.partition,
            wal_range.leader_epoch,
            wal_range.base_offset,
            wal_range.record_count,
            wal_range.position,
            wal_range.size_bytes,
            wal_range.max_timestamp_ms,
            len(wal_range.producer_runs),
        )
        for wal_range in ranges
    ]
    parts += [RUN.pack(*run) for wal_range in ranges for run in wal_range.producer_runs]
    return b"".join(parts)


def parse_ranges(footer: memoryview) -> tuple[WalRange, ...]:
    """The inverse of `encode_ranges`. Raises Corrupt for anything that `encode_wal` would not have
    written.
    """
    if footer.nbytes < FOOTER_HEAD.size:
        raise Corrupt(f"a footer of {footer.nbytes} bytes is too short")
    range_count, run_count = FOOTER_HEAD.unpack_from(footer)
    runs_at = FOOTER_HEAD.size + range_count * RANGE_BYTES
    if runs_at + run_count * RUN_BYTES != footer.nbytes:
        raise Corrupt(f"a footer of {footer.nbytes} bytes announces {range_count} ranges, {run_count} runs")
    runs = map(ProducerRun._make, RUN.iter_unpack(footer[runs_at:]))
    ranges: list[WalRange] = []
    runs_used = 0
    known: tuple[bytes, int] | None = None
    for fields in RANGE.iter_unpack(footer[FOOTER_HEAD.size : runs_at]):
        topic_id, partition, leader_epoch, base_offset, records, position, size_bytes, max_ms, own_runs = (
            fields
        )
        if own_runs > run_count - runs_used:
            raise Corrupt("a footer's ranges claim more producer runs than there are")
        runs_used += own_runs
        if (topic_id, partition) != known:  # an index repeats one partition for all of its ranges
            known = (topic_id, partition)
            tp = TopicPartition(TopicId(UUID(bytes=topic_id)), Partition(partition))
        wal_range = WalRange(
            tp=tp,
            leader_epoch=leader_epoch,
            base_offset=base_offset,
            record_count=records,
            position=position,
            size_bytes=size_bytes,
            max_timestamp_ms=max_ms,
            producer_runs=tuple(islice(runs, own_runs)),
        )
        wrong = _wrong_with(wal_range)
        if wrong:
            raise Corrupt(wrong)
        ranges.append(wal_range)
    if runs_used != run_count:
        raise Corrupt("a footer has producer runs that no range claims")
    return tuple(ranges)


def parse_footer(identity: Identity, data_bytes: int, footer: memoryview) -> WalFooter:
    """A data object's footer; the ranges have to cover its data without gaps. Raises Corrupt."""
    ranges = parse_ranges(footer)
    position = CHAIN_HEAD_BYTES
    for wal_range in ranges:
        if wal_range.position != position:
            raise Corrupt(f"a range of {wal_range.tp} lies at {wal_range.position}, not at {position}")
        position += wal_range.size_bytes
    if position != CHAIN_HEAD_BYTES + data_bytes:
        raise Corrupt(f"the ranges of a chain object end at {position}, its data elsewhere")
    return WalFooter(
        session=identity.session,
        seq=identity.seq,
        nonce=identity.nonce,
        created_ms=identity.created_ms,
        data_bytes=data_bytes,
        ranges=ranges,
    )


def _wrong_with(wal_range: WalRange) -> str:
    """What is impossible about a range; empty when nothing is."""
    if wal_range.tp.partition < 0 or wal_range.leader_epoch < 0 or wal_range.base_offset < 0:
        return f"a range of {wal_range.tp} has a negative partition, epoch or offset"
    if (
        wal_range.record_count < 1
        or wal_range.size_bytes < BATCH_BYTES_MIN
        or wal_range.end_offset >= 1 << 63
    ):
        return (
            f"a range of {wal_range.tp} has {wal_range.record_count} records in {wal_range.size_bytes} bytes"
        )
    for run in wal_range.producer_runs:
        inside = wal_range.base_offset <= run.base_offset and run.last_offset < wal_range.end_offset
        if not inside or min(run[:4]) < 0:
            return f"a range of {wal_range.tp} has the impossible producer run {tuple(run)}"
    return ""
