"""DeleteRecords: moves a partition's log start on request (Kafka API 21).

Owns: which offsets may be asked for. Does not own: the commit, freeing what is below (background.py).
Rules: 1 the new log start is committed before it is served or acknowledged (design section 3, rule 14); 2 -1
is the high watermark; above it nothing can be deleted, and whether that is so needs a proof (rule 13); 3 a
log start that is already there is answered at once: it never goes back; 4 a topic whose policy has no
"delete" keeps its records (Kafka's POLICY_VIOLATION).
"""

from libs.model.errors import Invalid, Reason
from libs.model.ids import TopicPartition
from services.partition_owner.access import FENCE_SECONDS_MAX, NO_EPOCH, fence, find_readable, out_of_range
from services.partition_owner.compaction.background import log_start_at
from services.partition_owner.compaction.committing import Committer
from services.partition_owner.compaction.policy import topic_policy
from services.partition_owner.partition import Partition
from services.partition_owner.registry import Registry, moved

HIGH_WATERMARK = -1


class RecordDeleter:
    """Serves DeleteRecords of this owner's partitions."""

    def __init__(self, *, registry: Registry, committer: Committer) -> None:
        self._registry = registry
        self._committer = committer

    async def delete(self, tp: TopicPartition, before_offset: int) -> int:
        """Deletes the records below `before_offset`; returns the log start then.

        Raises Moved, Invalid(OFFSET_OUT_OF_RANGE), Invalid(POLICY_VIOLATION), Corrupt. Waits while the
        metadata store is away: who asks has a deadline; the log start may move all the same.
        """
        partition = self._find(tp)
        log = partition.log
        if not topic_policy(partition.topic.configs).deletes:
            raise Invalid(
                f"topic {partition.topic.name!r} has no 'delete' in cleanup.policy: its records stay",
                reason=Reason.POLICY_VIOLATION,
            )
        start = log.high_watermark if before_offset == HIGH_WATERMARK else before_offset
        if start < 0:
            raise out_of_range(partition, start)
        if start > log.high_watermark:
            await fence(self._registry, seconds_max=FENCE_SECONDS_MAX)
            if self._find(tp) is not partition:
                raise moved(tp)
            if start > log.high_watermark:
                raise out_of_range(partition, start)
        if start > log.log_start:
            await self._committer.commit(partition, log_start_at(start))
        return log.log_start

    def _find(self, tp: TopicPartition) -> Partition:
        partition = find_readable(self._registry, tp, NO_EPOCH)
        if not partition.appendable:
            raise moved(tp)
        return partition
