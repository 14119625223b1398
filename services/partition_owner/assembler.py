"""Makes one chain object of what waits: checks sequences, assigns offsets, patches batches. Synchronous.

Owns: the only place where offsets are assigned (design section 3, rule 3). Does not own: when (flush_policy),
durability (chain_writer).
Rules: 1 an append is taken whole or not at all; 2 record bytes are copied once, into the object; 3 the ranges
are in the logs before the object leaves, above `durable`; 4 a duplicate is answered when its original is
durable, with its original's offset and append time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from libs.model.errors import KafscaleError
from libs.model.ids import NO_TIMESTAMP_MS, ChainSeq, SessionId
from libs.records.batch import BatchView
from libs.records.layout import PREFIX, PREFIX_BYTES
from libs.segments.wal import PendingRange, ProducerRun, WalFooter, encode_wal
from services.partition_owner.partition import Partition
from services.partition_owner.producers import ProducerEntry, trimmed
from services.partition_owner.waiting import PendingAppend


@dataclass(slots=True, kw_only=True, eq=False)
class Ack:
    """An append and the offset that it is answered with."""

    append: PendingAppend
    base_offset: int


@dataclass(slots=True, kw_only=True, eq=False)
class Assembly:
    """What became of the appends that were taken."""

    body: bytes
    """Empty where nothing is to be written."""
    footer: WalFooter | None
    ends: list[tuple[Partition, int]]
    """Each partition's end offset once this object is durable."""
    acks: list[Ack]
    """To be answered once this object is durable."""
    earlier: list[Ack]
    """Duplicates of batches in objects that are already on their way."""


@dataclass(slots=True, eq=False)
class _Group:
    """What one partition gets in this object."""

    partition: Partition
    base_offset: int
    next_offset: int
    max_timestamp_ms: int = -1
    buffers: list[bytes | memoryview] = field(default_factory=list)
    runs: list[ProducerRun] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Staged:
    """One append while it is checked."""

    next_offset: int
    first_offset: int | None = None
    original: ProducerRun | None = None
    """Of the first batch, where that is a duplicate."""
    duplicate_end: int = 0
    max_timestamp_ms: int = -1
    buffers: list[bytes | memoryview] = field(default_factory=list)
    runs: list[ProducerRun] = field(default_factory=list)
    undo: list[tuple[int, ProducerEntry | None]] = field(default_factory=list)


def assemble(
    appends: Iterable[PendingAppend],
    *,
    session: SessionId,
    seq: ChainSeq,
    nonce: bytes,
    created_ms: int,
    now: float,
    even_if_empty: bool,
) -> Assembly:
    """One object of these appends. Refused ones, and duplicates of durable batches, are answered here.

    `now` is in seconds of Trio's clock. `even_if_empty`: an object without ranges is wanted where there is
    nothing to write (rule 13).
    """
    groups: dict[int, _Group] = {}
    acks: list[Ack] = []
    earlier: list[Ack] = []
    for append in appends:
        partition = append.partition
        group = groups.get(id(partition))
        if group is None:
            assigned = partition.log.assigned
            group = groups[id(partition)] = _Group(partition, assigned, assigned)
        try:
            staged = _stage(append, group.next_offset, now)
        except KafscaleError as error:
            append.sink.failed(append, error)
            continue
        assert staged.first_offset is not None, "an append has at least one batch"
        if staged.original is not None and append.log_append_time_ms != NO_TIMESTAMP_MS:
            append.log_append_time_ms = staged.original.max_timestamp_ms
        if staged.next_offset == group.next_offset and staged.duplicate_end <= partition.log.assigned:
            _answer_duplicate(append, staged.first_offset, staged.duplicate_end, earlier)
            continue
        group.next_offset = staged.next_offset
        group.max_timestamp_ms = max(group.max_timestamp_ms, staged.max_timestamp_ms)
        group.buffers += staged.buffers
        group.runs += staged.runs
        acks.append(Ack(append=append, base_offset=staged.first_offset))
    filled = [group for group in groups.values() if group.buffers]
    if not filled and not even_if_empty:
        return Assembly(body=b"", footer=None, ends=[], acks=acks, earlier=earlier)
    encoded = encode_wal(
        session=session,
        seq=seq,
        nonce=nonce,
        created_ms=created_ms,
        ranges=[_pending_range(group) for group in filled],
    )
    _extend_logs(filled, encoded.footer)
    for group in filled:
        group.partition.producers.expire(now)
    return Assembly(
        body=b"".join(encoded.buffers),
        footer=encoded.footer,
        ends=[(group.partition, group.next_offset) for group in filled],
        acks=acks,
        earlier=earlier,
    )


def _stage(append: PendingAppend, next_offset: int, now: float) -> _Staged:
    """Gives each new batch its offset. Raises what the producer's state refuses, with nothing changed."""
    staged = _Staged(next_offset)
    try:
        for batch in append.batches:
            _stage_batch(append.partition, batch, staged, now)
    except KafscaleError:
        for producer_id, entry in reversed(staged.undo):
            append.partition.producers.put_back(producer_id, entry)
        raise
    return staged


def _stage_batch(partition: Partition, batch: BatchView, staged: _Staged, now: float) -> None:
    offset = staged.next_offset
    producer_id = batch.producer_id
    if producer_id >= 0:
        producers = partition.producers
        original = producers.check(batch)
        if original is not None:
            staged.duplicate_end = max(staged.duplicate_end, original.last_offset + 1)
            if staged.first_offset is None:
                staged.first_offset, staged.original = original.base_offset, original
            return
        staged.undo.append((producer_id, producers.get(producer_id)))
        staged.runs.append(producers.add(batch, base_offset=offset, now=now))
    staged.buffers.append(PREFIX.pack(offset, batch.batch_length, partition.leader_epoch))
    staged.buffers.append(batch.data[PREFIX_BYTES:])
    if staged.first_offset is None:
        staged.first_offset = offset
    staged.max_timestamp_ms = max(staged.max_timestamp_ms, batch.max_timestamp_ms)
    staged.next_offset = offset + batch.last_offset_delta + 1


def _answer_duplicate(append: PendingAppend, base_offset: int, end: int, earlier: list[Ack]) -> None:
    if end <= append.partition.log.durable:
        append.sink.appended(append, base_offset)
    else:
        earlier.append(Ack(append=append, base_offset=base_offset))


def _pending_range(group: _Group) -> PendingRange:
    return PendingRange(
        tp=group.partition.tp,
        leader_epoch=group.partition.leader_epoch,
        base_offset=group.base_offset,
        record_count=group.next_offset - group.base_offset,
        max_timestamp_ms=group.max_timestamp_ms,
        buffers=group.buffers,
        producer_runs=trimmed(group.runs),
    )


def _extend_logs(groups: list[_Group], footer: WalFooter) -> None:
    for group, written in zip(groups, footer.ranges, strict=True):
        partition = group.partition
        partition.last_seq = footer.seq
        partition.log.append(
            session=footer.session,
            leader_epoch=partition.leader_epoch,
            seq=footer.seq,
            base_offset=written.base_offset,
            record_count=written.record_count,
            position=written.position,
            size_bytes=written.size_bytes,
            max_timestamp_ms=written.max_timestamp_ms,
        )
