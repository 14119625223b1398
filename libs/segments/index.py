"""The chain index: the footers of CHAIN_INDEX_EVERY chain objects, grouped by partition.

Owns: encoding; reading whole, or one partition's part alone. Does not own: when it is written (the owner,
once `durable` has passed its objects), footers of single objects (`wal.py`).
Rules: 1 `index-{s}` covers the chain objects s .. s + CHAIN_INDEX_EVERY - 1, all of them, and s is a
multiple of CHAIN_INDEX_EVERY: so a reader computes its key and needs no LIST; 2 what lies beyond the chain's
end is to be ignored by the reader; 3 an index is an aid: without it the same is read from the objects
themselves; 4 a part has its own CRC32C in the table, so that a takeover of one partition reads head, table
and that part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from crc32c import crc32c

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, Partition, SessionId, TopicId, TopicPartition
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.segments.envelope import NeedMore
from libs.segments.layout import (
    CRC,
    INDEX_BYTES_MAX,
    INDEX_ENTRY,
    INDEX_ENTRY_BYTES,
    INDEX_HEAD,
    INDEX_HEAD_BYTES,
    INDEX_MAGIC,
    INDEX_SEQ,
    INDEX_VERSION,
)
from libs.segments.wal import WalFooter, WalRange, encode_ranges, parse_ranges

_ZEROS = b"\0\0\0"


class IndexedRange(NamedTuple):
    """A range, and the chain object that holds it."""

    seq: ChainSeq
    wal_range: WalRange


class IndexPart(NamedTuple):
    """Where a partition's part lies in the index object."""

    position: int
    size_bytes: int
    crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexHead:
    """Head and table of an index: which partitions it has, and where. `size_bytes`: of head and table."""

    session: SessionId
    first_seq: ChainSeq
    parts: Mapping[TopicPartition, IndexPart]
    size_bytes: int

    @property
    def end_seq(self) -> ChainSeq:
        """The first chain object that this index doesn't cover."""
        return ChainSeq(self.first_seq + CHAIN_INDEX_EVERY)


def index_start(seq: int) -> ChainSeq:
    """First seq, and so the name, of the index that covers the chain object `seq`."""
    return ChainSeq(seq - seq % CHAIN_INDEX_EVERY)


def encode_index(footers: Sequence[WalFooter]) -> list[Buffer]:
    """The index over these footers as buffers: consecutive, CHAIN_INDEX_EVERY of them. Raises ValueError."""
    first = footers[0].seq if footers else 0
    seqs = [footer.seq for footer in footers]
    if first != index_start(first) or seqs != list(range(first, first + CHAIN_INDEX_EVERY)):
        raise ValueError(
            f"an index needs {CHAIN_INDEX_EVERY} consecutive footers from a multiple of it, not {seqs}"
        )
    grouped: dict[TopicPartition, list[IndexedRange]] = {}
    for footer in footers:
        for wal_range in footer.ranges:
            grouped.setdefault(wal_range.tp, []).append(IndexedRange(footer.seq, wal_range))
    parts = {tp: _encode_part(first, ranges) for tp, ranges in sorted(grouped.items())}
    position = INDEX_HEAD_BYTES + len(parts) * INDEX_ENTRY_BYTES + CRC.size
    entries: list[bytes] = []
    for tp, part in parts.items():
        entries.append(INDEX_ENTRY.pack(tp.topic_id.bytes, tp.partition, position, len(part), crc32c(part)))
        position += len(part)
    if position > INDEX_BYTES_MAX:
        raise ValueError(f"an index of {position} bytes is too large")
    head = INDEX_HEAD.pack(
        INDEX_MAGIC, INDEX_VERSION, _ZEROS, footers[0].session.bytes, first, len(footers), len(parts)
    )
    table = head + b"".join(entries)
    return [table + CRC.pack(crc32c(table)), *parts.values()]


def parse_index_head(prefix: Buffer) -> IndexHead | NeedMore:
    """Head and table from the first bytes of an index. NeedMore: how many first bytes it takes. Raises
    Corrupt.
    """
    view = memoryview(prefix)
    if view.nbytes < INDEX_HEAD_BYTES:
        return NeedMore(size_bytes=INDEX_HEAD_BYTES)
    magic, version, zeros, session, first_seq, count, partitions = INDEX_HEAD.unpack_from(view)
    if (magic, version, zeros) != (INDEX_MAGIC, INDEX_VERSION, _ZEROS):
        raise Corrupt(f"a chain index begins with {magic!r}, version {version}: not known here")
    table_end = INDEX_HEAD_BYTES + partitions * INDEX_ENTRY_BYTES
    if count != CHAIN_INDEX_EVERY or first_seq != index_start(first_seq) or table_end > INDEX_BYTES_MAX:
        raise Corrupt(f"a chain index announces {count} objects from {first_seq}, {partitions} partitions")
    if view.nbytes < table_end + CRC.size:
        return NeedMore(size_bytes=table_end + CRC.size)
    if CRC.unpack_from(view, table_end) != (crc32c(view[:table_end]),):
        raise Corrupt("the CRC of a chain index's table is wrong")
    return IndexHead(
        session=SessionId(UUID(bytes=session)),
        first_seq=ChainSeq(first_seq),
        parts=_parse_table(view[INDEX_HEAD_BYTES:table_end], table_end + CRC.size),
        size_bytes=table_end + CRC.size,
    )


def parse_index_part(head: IndexHead, tp: TopicPartition, data: Buffer) -> tuple[IndexedRange, ...]:
    """The ranges of one partition, in chain order. `data`: the bytes that `head.parts[tp]` names. Raises
    Corrupt.
    """
    part = head.parts[tp]
    view = memoryview(data)
    if view.nbytes != part.size_bytes or crc32c(view) != part.crc:
        raise Corrupt(f"the part of {tp} in a chain index is damaged")
    if view.nbytes < INDEX_SEQ.size:
        raise Corrupt(f"the part of {tp} in a chain index is too short")
    (count,) = INDEX_SEQ.unpack_from(view)
    ranges_at = (1 + count) * INDEX_SEQ.size
    if ranges_at > view.nbytes:
        raise Corrupt(f"the part of {tp} in a chain index announces {count} ranges")
    steps = [step for (step,) in INDEX_SEQ.iter_unpack(view[INDEX_SEQ.size : ranges_at])]
    ranges = parse_ranges(view[ranges_at:])
    ordered = all(earlier <= later for earlier, later in pairwise(steps))
    if len(ranges) != count or not ordered or (steps and steps[-1] >= CHAIN_INDEX_EVERY):
        raise Corrupt(f"the part of {tp} in a chain index has {len(ranges)} ranges at {steps}")
    if any(wal_range.tp != tp for wal_range in ranges):
        raise Corrupt(f"the part of {tp} in a chain index holds another partition")
    return tuple(
        IndexedRange(ChainSeq(head.first_seq + step), wal_range)
        for step, wal_range in zip(steps, ranges, strict=True)
    )


def parse_index(data: Buffer) -> Mapping[TopicPartition, tuple[IndexedRange, ...]]:
    """A whole index, all partitions. Raises Corrupt, also for a cut off index and for bytes too many."""
    view = memoryview(data)
    head = parse_index_head(view)
    if isinstance(head, NeedMore):
        raise Corrupt(f"a chain index of {view.nbytes} bytes is cut off")
    end = max((part.position + part.size_bytes for part in head.parts.values()), default=head.size_bytes)
    if end != view.nbytes:
        raise Corrupt(f"a chain index of {view.nbytes} bytes ends at {end}")
    return MappingProxyType(
        {
            tp: parse_index_part(head, tp, view[part.position : part.position + part.size_bytes])
            for tp, part in head.parts.items()
        }
    )


def _encode_part(first: int, ranges: Sequence[IndexedRange]) -> bytes:
    steps = b"".join(INDEX_SEQ.pack(entry.seq - first) for entry in ranges)
    return INDEX_SEQ.pack(len(ranges)) + steps + encode_ranges([entry.wal_range for entry in ranges])


def _parse_table(table: memoryview, parts_at: int) -> Mapping[TopicPartition, IndexPart]:
    parts: dict[TopicPartition, IndexPart] = {}
    for topic_id, partition, position, size_bytes, crc in INDEX_ENTRY.iter_unpack(table):
        tp = TopicPartition(TopicId(UUID(bytes=topic_id)), Partition(partition))
        if position != parts_at or tp in parts:
            raise Corrupt(f"a chain index has the part of {tp} at {position}, not at {parts_at}")
        parts[tp] = IndexPart(position, size_bytes, crc)
        parts_at += size_bytes
    if parts_at > INDEX_BYTES_MAX:
        raise Corrupt(f"a chain index announces {parts_at} bytes")
    return MappingProxyType(parts)
