"""Where a log starts once what is too old or too much is gone. Pure.

Owns: retention by time and by size (KIP-32, Kafka's UnifiedLog.deleteOldSegments). Does not own: when it is
looked at, the commit that makes it so.
Rules: 1 whole segments go, then whole ranges, from the start on and never one behind one that stays; 2 by
time: what has its greatest timestamp before the limit; records without a timestamp have none to be judged by,
and go with the next that have; 3 by size: as much as can go while at least the limit stays.
"""

from services.partition_owner.compaction.policy import TopicPolicy
from services.partition_owner.log import PartitionLog


def retained_from(log: PartitionLog, policy: TopicPolicy, *, now_ms: int) -> int:
    """The log start that the policy asks for; never below the present one, never above `durable`."""
    start = log.log_start
    if policy.retention_ms is not None:
        start = max(start, _by_time(log, now_ms - policy.retention_ms))
    if policy.retention_bytes is not None:
        start = max(start, _by_size(log, policy.retention_bytes))
    return start


def _by_time(log: PartitionLog, oldest_ms: int) -> int:
    start = log.log_start
    for segment in log.segments:
        if segment.max_timestamp_ms >= oldest_ms:
            return start
        if segment.max_timestamp_ms >= 0:
            start = segment.last_offset + 1
    first_kept = log.index_at_time(oldest_ms)
    gone = log.timed_ranges_before(log.durable_ranges if first_kept is None else first_kept)
    return log.range_at(gone - 1).end_offset if gone else start


def _by_size(log: PartitionLog, bytes_max: int) -> int:
    start = log.log_start
    left_bytes = log.readable_bytes(start) - bytes_max
    segments = log.segments
    for segment in segments[log.segment_list.find(start) :]:
        if segment.size_bytes > left_bytes:
            return start
        left_bytes -= segment.size_bytes
        start = segment.last_offset + 1
    for index in range(log.index_of(max(start, log.compacted_end)), log.durable_ranges):
        found = log.range_at(index)
        if found.size_bytes > left_bytes:
            return start
        left_bytes -= found.size_bytes
        start = found.end_offset
    return start
