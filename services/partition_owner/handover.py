"""Gives a partition up: refuses, waits until all of it is durable, and tells metadata where it ends (rule
11).

Owns: the steps of a release. Does not own: when (assignments.py), who gets it (the controller).
Rules (design section 3): 1 new appends are refused before they get offsets; 2 what has offsets is durable
before the release is sent; 3 a release is one-way whatever its reply: the partition is closed from then on;
4 an unknown outcome is read back, then the same release is sent again: it is the same however often it
happens.
"""

import structlog
import trio

from libs.clients.metadata import MetadataClient
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.errors import Fenced, Invalid, KafscaleError, Moved, NotFound
from libs.model.ids import ChainSeq, LeaderEpoch, Offset, SessionId, TopicPartition
from services.partition_owner.flusher import Flusher
from services.partition_owner.partition import NO_SEQ, Partition, PartitionPhase
from services.partition_owner.registry import Registry, moved

_BACKOFF = Backoff(first_seconds=0.05, max_seconds=2.0)

log = structlog.get_logger(__name__)


class HandOver:
    """Releases partitions of one session, a bounded number at a time."""

    def __init__(
        self,
        *,
        flusher: Flusher,
        metadata: MetadataClient,
        registry: Registry,
        rand: Rand,
        at_once_max: int,
    ) -> None:
        self._flusher = flusher
        self._metadata = metadata
        self._registry = registry
        self._rand = rand
        self._places = trio.Semaphore(at_once_max, max_value=at_once_max)

    async def release(self, partition: Partition) -> None:
        """Hands an open partition over. Raises Unavailable when the session is over meanwhile."""
        began_at = trio.current_time()
        partition.phase = PartitionPhase.RELEASING
        self._flusher.refuse(partition, lambda: moved(partition.tp))
        if partition.last_seq != NO_SEQ:
            await self._flusher.wait_durable(partition.last_seq)
        assert partition.log.durable == partition.log.assigned
        # No farther: objects behind it are of other partitions and may never land, then nobody could open it.
        to_seq = ChainSeq(max(partition.last_seq + 1, partition.first_seq))
        try:
            async with self._places:
                await self._send(
                    partition.tp,
                    partition.leader_epoch,
                    opened=True,
                    to_seq=to_seq,
                    released_offset=Offset(partition.log.assigned),
                )
        finally:
            self._registry.drop(partition)
        log.info(
            "partition_released",
            tp=str(partition.tp),
            epoch=partition.leader_epoch,
            offset=partition.log.assigned,
            seconds=round(trio.current_time() - began_at, 3),
        )

    async def release_unopened(self, tp: TopicPartition, epoch: LeaderEpoch) -> None:
        """Gives back what was never opened: its state and predecessors stay as they are."""
        async with self._places:
            await self._send(tp, epoch, opened=False, to_seq=ChainSeq(0), released_offset=Offset(0))

    async def _send(
        self,
        tp: TopicPartition,
        epoch: LeaderEpoch,
        *,
        opened: bool,
        to_seq: ChainSeq,
        released_offset: Offset,
    ) -> None:
        failures = 0
        while True:
            try:
                await self._metadata.release_partition(
                    tp,
                    session=self._flusher.session,
                    leader_epoch=epoch,
                    opened=opened,
                    to_seq=to_seq,
                    released_offset=released_offset,
                )
                return
            except (Moved, NotFound):
                return  # an earlier attempt did it, or there is no such partition any more
            except (Fenced, Invalid) as error:
                log.warning("release_refused", tp=str(tp), epoch=epoch, error=error.message)
                if not await self._is_held(tp, self._flusher.session, epoch):
                    return
                failures += 1
            except KafscaleError as error:
                log.info("release_retried", tp=str(tp), epoch=epoch, error=error.message)
                if not await self._is_held(tp, self._flusher.session, epoch):
                    return
                failures += 1
            await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))

    async def _is_held(self, tp: TopicPartition, session: SessionId, epoch: LeaderEpoch) -> bool:
        """Reads back; True also where nobody can tell: then the release is sent again."""
        try:
            record = await self._metadata.get_partition(tp)
        except NotFound:
            return False
        except KafscaleError:
            return True
        assigned = record.assignment
        return (assigned.session, assigned.leader_epoch) == (session, epoch)
