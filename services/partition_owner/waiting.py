"""Appends that were accepted and have no offsets yet. Pure.

Owns: their order, their bytes, refusing those of one partition. Does not own: bounds (`byte_budget.py`),
offsets.
Rules: 1 first in, first out; 2 what waits was not done: it may still be refused with Moved (design section
3, rule 11); 3 each append is answered exactly once.
"""

from collections import deque
from typing import Protocol

from libs.model.errors import KafscaleError
from libs.model.ids import TopicPartition
from libs.records import BatchView
from services.partition_owner.partition import Partition


class AppendSink(Protocol):
    """Who hears what became of an append: the stream that it came on. Called synchronously, once each."""

    def appended(self, append: "PendingAppend", base_offset: int) -> None: ...

    def failed(self, append: "PendingAppend", error: KafscaleError) -> None: ...


class PendingAppend:
    """Batches of one request for one partition, in order."""

    __slots__ = (
        "batches",
        "correlation_id",
        "index",
        "log_append_time_ms",
        "partition",
        "sink",
        "size_bytes",
    )

    def __init__(
        self,
        *,
        partition: Partition,
        batches: tuple[BatchView, ...],
        size_bytes: int,
        sink: AppendSink,
        correlation_id: int,
        index: int,
        log_append_time_ms: int,
    ) -> None:
        self.partition = partition
        self.batches = batches
        self.size_bytes = size_bytes
        self.sink = sink
        self.correlation_id = correlation_id
        self.index = index
        self.log_append_time_ms = log_append_time_ms


class WaitingAppends:
    """The queue between streams and the assembler."""

    def __init__(self) -> None:
        self._queue: deque[tuple[int, float, PendingAppend]] = deque()
        self._serial = 0
        self.waiting_bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def since(self) -> float | None:
        """When the oldest came; None when nothing waits."""
        return self._queue[0][1] if self._queue else None

    @property
    def next_serial(self) -> int:
        """The serial number that the next append gets; all that wait now have smaller ones."""
        return self._serial

    @property
    def taken_below(self) -> int:
        """No append with a smaller serial number waits any more."""
        return self._queue[0][0] if self._queue else self._serial

    def partitions(self) -> set[TopicPartition]:
        return {entry[2].partition.tp for entry in self._queue}

    def add(self, append: PendingAppend, now: float) -> None:
        self._queue.append((self._serial, now, append))
        self._serial += 1
        self.waiting_bytes += append.size_bytes

    def take(self, bytes_max: int) -> list[PendingAppend]:
        """The oldest within `bytes_max`, at least one where there is one."""
        taken: list[PendingAppend] = []
        taken_bytes = 0
        queue = self._queue
        while queue:
            append = queue[0][2]
            if taken and taken_bytes + append.size_bytes > bytes_max:
                break
            queue.popleft()
            taken.append(append)
            taken_bytes += append.size_bytes
        self.waiting_bytes -= taken_bytes
        return taken

    def take_of(self, partition: Partition) -> list[PendingAppend]:
        """All of one partition, out of turn: to be refused."""
        taken = [entry[2] for entry in self._queue if entry[2].partition is partition]
        if taken:
            self._queue = deque(entry for entry in self._queue if entry[2].partition is not partition)
            self.waiting_bytes -= sum(append.size_bytes for append in taken)
        return taken
