"""One partition's log in memory: where each offset is in the chains, and how far it is durable. Pure.

Owns: frontiers, ranges, lookups by offset and by time. Does not own: bytes, producers, who may append.
Rules: 1 assigned >= in flight >= durable, and none goes back (promise 4); 2 offsets are contiguous: a range
begins where the one before it ended (promise 3); 3 readers see nothing above `durable` (design section 3,
rule 4).

A range costs 36 bytes in arrays, so that hundreds of thousands fit; ranges of one session and epoch share a
span. Sizes are kept as running totals and times as running maxima: both lookups are then one bisection.
"""

from array import array
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from libs.model.ids import ChainSeq, LeaderEpoch, SessionId

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


class _Span(NamedTuple):
    session: SessionId
    leader_epoch: LeaderEpoch
    first_index: int
    base_offset: int


class PartitionLog:
    """Ranges in offset order; appended when assembled, seen by readers once durable."""

    __slots__ = (
        "_bases",
        "_durable_count",
        "_positions",
        "_seqs",
        "_span_firsts",
        "_spans",
        "_times",
        "_totals",
        "assigned",
        "durable",
        "in_flight",
        "log_start",
    )

    def __init__(self, *, log_start: int, next_offset: int) -> None:
        self.log_start = log_start
        self.assigned = self.in_flight = self.durable = next_offset
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
        self._totals.append(size_bytes + (self._totals[-1] if self._totals else 0))
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

    def index_of(self, offset: int) -> int:
        """Index of the durable range that holds `offset`; the number of durable ranges where
        `offset` is their end.

        Raises ValueError for an offset outside [first offset of the first range, durable].
        """
        if offset > self.durable or (self._durable_count and offset < self._bases[0]):
            raise ValueError(f"offset {offset} is not in the log")
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
            self._totals[index] - (self._totals[index - 1] if index else 0),
        )

    @property
    def durable_ranges(self) -> int:
        """Ranges [0, durable_ranges) may be read."""
        return self._durable_count

    def readable_bytes(self, offset: int) -> int:
        """Bytes of the durable ranges from the one that holds `offset` on."""
        if not self._durable_count or offset >= self.durable:
            return 0
        first = max(0, bisect_right(self._bases, offset, hi=self._durable_count) - 1)
        return self._totals[self._durable_count - 1] - (self._totals[first - 1] if first else 0)

    def index_at_time(self, timestamp_ms: int) -> int | None:
        """The first durable range with a record at or after `timestamp_ms`; None where there is none."""
        index = bisect_left(self._times, timestamp_ms, hi=self._durable_count)
        return index if index < self._durable_count else None

    def index_of_max_time(self) -> int | None:
        """The first durable range that holds the greatest timestamp; None for an empty log."""
        if not self._durable_count:
            return None
        return bisect_left(self._times, self._times[self._durable_count - 1], hi=self._durable_count)

    def max_time_ms(self) -> int:
        """The greatest timestamp of the durable ranges; -1 for an empty log."""
        return self._times[self._durable_count - 1] if self._durable_count else NOT_AT_ALL

    def epoch_at(self, offset: int) -> LeaderEpoch | None:
        """The leader epoch under which `offset` was appended; None where no range holds it."""
        if not self._bases or not self._bases[0] <= offset < self.assigned:
            return None
        index = bisect_right(self._bases, offset) - 1
        return self._spans[bisect_right(self._span_firsts, index) - 1].leader_epoch
