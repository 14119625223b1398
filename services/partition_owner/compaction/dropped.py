"""Objects that no pointer names any more, on their way from who dropped them to who deletes them.

Owns: the queue between compaction and collection. Does not own: deleting, and when.
Rules (design section 3, rule 16): 1 only what a committed pointer dropped comes here: it can never be named
again; 2 the queue outlives sessions: what was dropped stays dropped; 3 it is bounded: what does not fit is
left to the search for orphans.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from libs.model.ids import TopicPartition


class DroppedObject(NamedTuple):
    """`dropped_at`: on Trio's clock, when this owner heard that the new pointer is committed."""

    key: str
    tp: TopicPartition
    dropped_at: float


class DroppedObjects:
    """First in, first out, at most `count_max`."""

    def __init__(self, count_max: int) -> None:
        self.count_max = count_max
        self.forgotten = 0
        """What did not fit, ever."""
        self._queue: deque[DroppedObject] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, tp: TopicPartition, keys: Iterable[str], *, now: float) -> None:
        """To be called once the pointer that dropped `keys` is known to be committed."""
        for key in keys:
            if len(self._queue) >= self.count_max:
                self.forgotten += 1
            else:
                self._queue.append(DroppedObject(key, tp, now))

    def take(self, *, dropped_before: float, count_max: int) -> list[DroppedObject]:
        """The oldest that were dropped by then; they are the caller's from now on."""
        taken: list[DroppedObject] = []
        while self._queue and len(taken) < count_max and self._queue[0].dropped_at <= dropped_before:
            taken.append(self._queue.popleft())
        return taken

    def put_back(self, objects: Iterable[DroppedObject]) -> None:
        """What was taken and could not be deleted, to be tried again first."""
        self._queue.extendleft(reversed(list(objects)))
