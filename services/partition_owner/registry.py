"""The partitions that this owner serves now, by topic id and index.

Owns: the map. Does not own: what makes a partition open or close (assignments.py).
Rules: 1 one object a partition; 2 what is not in the map is answered with Moved: nothing was done.
"""

from collections.abc import Iterator

from libs.model.errors import Moved
from libs.model.ids import TopicPartition
from services.partition_owner.flusher import Flusher
from services.partition_owner.partition import Partition


class Registry:
    """Partitions that may be read or appended to, and the flusher of the session that they belong to."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, Partition] = {}
        self.flusher: Flusher | None = None
        """None between two sessions."""

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._partitions.values())

    def __len__(self) -> int:
        return len(self._partitions)

    def find(self, tp: TopicPartition) -> Partition | None:
        return self._partitions.get(tp)

    def add(self, partition: Partition) -> None:
        self._partitions[partition.tp] = partition

    def drop(self, partition: Partition) -> None:
        """Closes a partition for good; whoever reads it is told, what waits to be appended is refused."""
        if self._partitions.get(partition.tp) is partition:
            del self._partitions[partition.tp]
        partition.close()
        if self.flusher is not None:
            self.flusher.refuse(partition, lambda: moved(partition.tp))

    def drop_all(self) -> None:
        """The session is over: nothing that was cached counts any more (rule 5)."""
        self.flusher = None
        dropped = list(self._partitions.values())
        self._partitions.clear()
        for partition in dropped:
            partition.close()


def moved(tp: TopicPartition) -> Moved:
    """The answer for a partition that is not served here, or not under that epoch."""
    return Moved(f"partition {tp} is not served here now")
