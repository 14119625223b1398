"""Whether a read of a partition may be answered here, and by which partition.

Owns: leader epoch checks (KIP-320) and the range of valid offsets. Does not own: the reading.
Rules: 1 an epoch below ours is fenced, one above ours is unknown to us; 2 an offset above the frontier is
out of range only after a chain PUT that began after the request (design section 3, rule 13): until then
nobody knows whether this owner is the last to hear of its own end.
"""

import trio

from libs.model.errors import Fenced, Invalid, KafscaleError, Moved, Reason
from libs.model.ids import TopicPartition
from services.partition_owner.partition import Partition
from services.partition_owner.registry import Registry, moved

NO_EPOCH = -1
FENCE_SECONDS_MAX = 5.0


def find_readable(registry: Registry, tp: TopicPartition, current_leader_epoch: int) -> Partition:
    """The partition. Raises Moved, Fenced(FENCED_LEADER_EPOCH) and Fenced(UNKNOWN_LEADER_EPOCH)."""
    partition = registry.find(tp)
    if partition is None or not partition.readable:
        raise moved(tp)
    if current_leader_epoch not in (NO_EPOCH, partition.leader_epoch):
        older = current_leader_epoch < partition.leader_epoch
        raise Fenced(
            f"partition {tp} has leader epoch {partition.leader_epoch}, not {current_leader_epoch}",
            reason=Reason.FENCED_LEADER_EPOCH if older else Reason.UNKNOWN_LEADER_EPOCH,
        )
    return partition


def out_of_range(partition: Partition, offset: int) -> Invalid:
    log = partition.log
    return Invalid(
        f"offset {offset} of {partition.tp} is not within {log.log_start}..{log.durable}",
        reason=Reason.OFFSET_OUT_OF_RANGE,
    )


async def fence(registry: Registry, *, seconds_max: float) -> None:
    """Proves that this owner is still the one to say, of all its partitions. Raises Moved where that can't be
    proven (rule 13)."""
    flusher = registry.flusher
    if flusher is None:
        raise Moved("this owner is between two sessions")
    try:
        with trio.fail_after(seconds_max):
            await flusher.fence()
    except (KafscaleError, trio.TooSlowError) as error:
        raise Moved("this owner can't prove that its partitions are still its own") from error
