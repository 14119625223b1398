"""One partition's log in memory: where each offset is, in segments or chains, and how far it is durable.
Pure.

Owns: frontiers, ranges, the segments below them, lookups by offset. Does not own: bytes, producers, who may
append, what is compacted when.
Rules: 1 assigned >= in flight >= durable, log start and compacted end, and none goes back (promise 4); 2
offsets are contiguous: a range begins where the one before it ended, the first one at the compacted end
(promise 3); 3 readers see nothing above `durable` (design section 3, rule 4); 4 an index of a range counts
until the next `compacted`: nobody keeps one across an await.

A range costs 44 bytes in arrays, so that hundreds of thousands fit; ranges of one session and epoch share a
span. Sizes are kept as running totals, and times as running maxima too: a lookup is a bisection, by time with
a short walk behind it.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from libs.model.ids import ChainSeq, LeaderEpoch, SessionId
from libs.segments.manifest import EpochStart, Manifest, SegmentRef
from services.partition_owner.segment_list import SegmentList

NOT_AT_ALL = -1


class LogRange(NamedTuple):
    """Offsets [base_offset, end_offset) and where their batches lie in a chain object."""

    session: SessionId
    seq: ChainSeq
    leader_epoch: LeaderEpoch
    base_offset: int
    end_offset: int
    position: int
    size_bytes: int

    def __str__(self) -> str:
        return f"the range at {self.position} of chain object {self.session}/{self.seq}"


class _Span(NamedTuple):
    session: SessionId
    leader_epoch: LeaderEpoch
    first_index: int
    base_offset: int


class PartitionLog:
    """Ranges in offset order: appended when assembled, read once durable, replaced by segments at last."""

    __slots__ = (
        "_bases",
        "_compacted_epochs",
        "_durable_count",
        "_list",
        "_own_times",
        "_positions",
        "_seqs",
        "_span_firsts",
        "_spans",
        "_times",
        "_totals",
        "_trimmed_bytes",
        "assigned",
        "compacted_end",
        "durable",
        "in_flight",
        "log_start",
        "version",
    )

    def __init__(self, *, log_start: int, next_offset: int) -> None:
        self.log_start = log_start
        self.assigned = self.in_flight = self.durable = next_offset
        self.compacted_end = next_offset
        """Ranges begin here. What is left of the records below is in the segments."""
        self.version = 0
        """Counts `compacted`: who planned a read can see that there is a newer list."""
        self._list = SegmentList(())
        self._compacted_epochs: tuple[EpochStart, ...] = ()
        self._trimmed_bytes = 0
        self._own_times = array("q")
        self._spans: list[_Span] = []
        self._span_firsts: list[int] = []
        self._bases = array("q")
        self._seqs = array("Q")
        self._positions = array("I")
        self._totals = array("Q")
        self._times = array("q")
        self._durable_count = 0

    def __len__(self) -> int:
        return len(self._bases)

    @property
    def high_watermark(self) -> int:
        """Consumers read below it."""
        return self.durable

    def append(
        self,
        *,
        session: SessionId,
        leader_epoch: LeaderEpoch,
        seq: int,
        base_offset: int,
        record_count: int,
        position: int,
        size_bytes: int,
        max_timestamp_ms: int,
    ) -> None:
        """Adds the next range. Raises ValueError unless it begins at `assigned`."""
        if base_offset != self.assigned:
            raise ValueError(f"a range begins at offset {base_offset}; the log ends at {self.assigned}")
        last = self._spans[-1] if self._spans else None
        if last is None or last.session != session or last.leader_epoch != leader_epoch:
            self._spans.append(_Span(session, leader_epoch, len(self._bases), base_offset))
            self._span_firsts.append(len(self._bases))
        self._totals.append(size_bytes + (self._totals[-1] if self._totals else self._trimmed_bytes))
        self._own_times.append(max_timestamp_ms)
        times = self._times
        times.append(max(max_timestamp_ms, times[-1]) if times else max_timestamp_ms)
        self._bases.append(base_offset)
        self._seqs.append(seq)
        self._positions.append(position)
        self.assigned = base_offset + record_count

    def begin_flight(self, offset: int) -> None:
        """Everything below `offset` is on its way to the store."""
        self.in_flight = max(self.in_flight, offset)

    def advance_durable(self, offset: int) -> None:
        """Everything below `offset`, the end of a range, is durable."""
        if offset <= self.durable:
            return
        assert offset <= self.in_flight, "durable never passes what was sent"
        self.durable = offset
        self._durable_count = bisect_left(self._bases, offset)

    def advance_log_start(self, offset: int) -> None:
        """Readers begin at `offset` from now on: the metadata store says so. Raises ValueError above
        `durable`.
        """
        if offset > self.durable:
            raise ValueError(f"the log can't start at {offset}: it is durable up to {self.durable}")
        self.log_start = max(self.log_start, offset)

    def compacted(self, manifest: Manifest) -> None:
        """The manifest's segments take the place of the segments and ranges below its end.

        Raises ValueError unless that is the end of a durable range, or of what was compacted before.
        """
        end, count = manifest.end_offset, bisect_left(self._bases, manifest.end_offset)
        reached = self.compacted_end if not count else self.range_at(count - 1).end_offset
        if end != reached or count > self._durable_count:
            raise ValueError(f"a manifest ends at offset {end}; a range ends at {reached}")
        self._list = SegmentList(manifest.segments)
        self._compacted_epochs = manifest.epochs
        self.compacted_end = end
        self.version += 1
        if count:
            self._trim(count)

    def _trim(self, count: int) -> None:
        """Forgets the first ranges: each array is moved once, however many they are."""
        self._trimmed_bytes = self._totals[count - 1]
        columns = (self._bases, self._seqs, self._positions, self._totals, self._own_times, self._times)
        for column in columns:
            del column[:count]
        self._durable_count -= count
        first = bisect_right(self._span_firsts, count) - 1  # the span of the first range that is left
        self._spans = [
            span._replace(
                first_index=max(0, span.first_index - count),
                base_offset=max(span.base_offset, self.compacted_end),
            )
            for span in (self._spans[first:] if self._bases else ())
        ]
        self._span_firsts = [span.first_index for span in self._spans]

    @property
    def segments(self) -> tuple[SegmentRef, ...]:
        """What was compacted, in order; there may be gaps between them."""
        return self._list.segments

    @property
    def segment_list(self) -> SegmentList:
        """The same with lookups. It never changes: `compacted` makes a new one."""
        return self._list

    @property
    def uncompacted_bytes(self) -> int:
        """Bytes of the durable ranges."""
        return self._totals[self._durable_count - 1] - self._trimmed_bytes if self._durable_count else 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the segments and the durable ranges."""
        return self._list.size_bytes + self.uncompacted_bytes

    def ranges(self) -> Iterator[LogRange]:
        """The durable ranges, those that are not compacted yet, in order. Not across `compacted`."""
        return map(self.range_at, range(self._durable_count))

    def least_seq_of(self, session: SessionId) -> ChainSeq | None:
        """The least chain object of `session` that a range is in; None: none is."""
        seqs = (self._seqs[span.first_index] for span in self._spans if span.session == session)
        return ChainSeq(least) if (least := min(seqs, default=None)) is not None else None

    def index_of(self, offset: int) -> int:
        """Index of the durable range that holds `offset`; the number of durable ranges where
        `offset` is their end.

        Raises ValueError for an offset outside [compacted_end, durable].
        """
        if not self.compacted_end <= offset <= self.durable:
            raise ValueError(f"offset {offset} is not in the log's ranges")
        if offset == self.durable:
            return self._durable_count
        return bisect_right(self._bases, offset, hi=self._durable_count) - 1

    def range_at(self, index: int) -> LogRange:
        """The range of that index."""
        span = self._spans[bisect_right(self._span_firsts, index) - 1]
        bases = self._bases
        return LogRange(
            span.session,
            ChainSeq(self._seqs[index]),
            span.leader_epoch,
            bases[index],
            bases[index + 1] if index + 1 < len(bases) else self.assigned,
            self._positions[index],
            self._totals[index] - (self._totals[index - 1] if index else self._trimmed_bytes),
        )

    @property
    def durable_ranges(self) -> int:
        """Ranges [0, durable_ranges) may be read."""
        return self._durable_count

    def readable_bytes(self, offset: int) -> int:
        """Bytes of the segments and durable ranges from the one that holds `offset` on."""
        if offset < self.compacted_end:
            return self._list.size_bytes_from(offset) + self.uncompacted_bytes
        if not self._durable_count or offset >= self.durable:
            return 0
        first = bisect_right(self._bases, offset, hi=self._durable_count) - 1
        before_bytes = self._totals[first - 1] if first else self._trimmed_bytes
        return self._totals[self._durable_count - 1] - before_bytes

    def index_at_time(self, timestamp_ms: int) -> int | None:
        """The first durable range with a record at or after `timestamp_ms`; None where there is none."""
        return self._next_at_time(timestamp_ms, 0)

    def timed_ranges_before(self, index: int) -> int:
        """How many ranges there are up to the last one before `index` that has a timestamp."""
        times = self._own_times
        return next((at for at in range(index, 0, -1) if times[at - 1] >= 0), 0)

    def at_time(self, timestamp_ms: int, from_offset: int) -> SegmentRef | LogRange | None:
        """The first segment or durable range that has `from_offset` or is behind it, and has a record at or
        after `timestamp_ms`, perhaps below `from_offset`; None where there is none.
        """
        found = self._list.at_time(timestamp_ms, from_offset)
        if found is not None:
            return found
        if from_offset >= self.durable:
            return None
        index = self._next_at_time(timestamp_ms, self.index_of(max(from_offset, self.compacted_end)))
        return None if index is None else self.range_at(index)

    def _next_at_time(self, timestamp_ms: int, first: int) -> int | None:
        # Maxima may be of ranges that were trimmed or lie before `first`: so this is where to begin, no more.
        first = max(first, bisect_left(self._times, timestamp_ms, hi=self._durable_count))
        times = self._own_times
        return next((at for at in range(first, self._durable_count) if times[at] >= timestamp_ms), None)

    def max_time_ms(self, from_offset: int) -> int:
        """The greatest timestamp of the segments and durable ranges that have `from_offset` or are behind it;
        -1 where there are none.
        """
        latest_ms = self._list.max_time_ms(from_offset)
        if from_offset < self.durable:
            first = self.index_of(max(from_offset, self.compacted_end))
            latest_ms = max(latest_ms, max(self._own_times[first : self._durable_count], default=NOT_AT_ALL))
        return latest_ms

    def epochs(self) -> tuple[EpochStart, ...]:
        """The first offset of each leader epoch, in order, of all that is in the log."""
        found = list(self._compacted_epochs)
        for span in self._spans:
            if not found or span.leader_epoch > found[-1].leader_epoch:
                found.append(EpochStart(leader_epoch=span.leader_epoch, start_offset=span.base_offset))
        return tuple(found)

    def epoch_at(self, offset: int) -> LeaderEpoch | None:
        """The leader epoch under which `offset` was appended; None where the log does not know it."""
        if offset >= self.assigned:
            return None
        if offset >= self.compacted_end:
            return self._spans[bisect_right(self._spans, offset, key=_base_offset) - 1].leader_epoch
        at = bisect_right(self._compacted_epochs, offset, key=_start_offset)
        return LeaderEpoch(self._compacted_epochs[at - 1].leader_epoch) if at else None


def _base_offset(span: _Span) -> int:
    return span.base_offset


def _start_offset(epoch: EpochStart) -> int:
    return epoch.start_offset
