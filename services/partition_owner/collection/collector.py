"""The owner's collection as one object: what runs when, and on whom.

Owns: the tasks, their pace, the election of who collects what nobody owns. Does not own: the work.
Rules: 1 every owner frees its own chain, its own dropped objects, and looks for orphans where it took over;
one owner, by rendezvous over those in the watch, does the rest; two at a time do no harm (unowned.py); 2 with
nothing to do the pauses grow, to CHECKS_QUIET_MAX times the first; 3 nothing here is waited for by anyone:
errors are logged and the work is tried again later.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b

import structlog
import trio

from libs.clients.watcher import ClusterWatcher
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.model.errors import KafscaleError
from libs.model.ids import LeaderEpoch, OwnerId, SessionId, TopicPartition
from services.partition_owner.collection.decide import Allowed, Deletable
from services.partition_owner.collection.deleter import Deleter, DeleterStatistics
from services.partition_owner.collection.own_chain import OwnChain
from services.partition_owner.collection.sweep import Sweep
from services.partition_owner.collection.unowned import Unowned
from services.partition_owner.compaction.dropped import DroppedObjects
from services.partition_owner.registry import Registry

CHECKS_QUIET_MAX = 8
FIRST_SWEEP_SHARE = 1 / 24
"""Of the time between two sweeps: the first one after a start."""
TAKEN_AT_ONCE_MAX = 100
_DROPPED_AT_ONCE_MAX = 1000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionLimits:
    check_seconds: float
    """Pause between two looks at what may have become free."""
    delay_seconds: float
    """What became free stays for so long, for those who read by an older list."""
    sweep_seconds: float
    """Pause between two walks through the bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionWork:
    """What is done; this module only says when."""

    own_chain: OwnChain
    unowned: Unowned
    sweep: Sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatistics:
    deleted: DeleterStatistics
    waiting: int
    """Dropped objects that wait for their delay."""
    waiting_max: int
    collects_unowned: bool
    swept_at_ms: int
    """When the last walk through the bucket ended here; 0: none did."""


class Collector:
    """`run` until cancelled."""

    def __init__(  # noqa: PLR0913 - what it joins, by name
        self,
        *,
        owner_id: OwnerId,
        session: Callable[[], SessionId | None],
        watcher: ClusterWatcher,
        registry: Registry,
        dropped: DroppedObjects,
        deleter: Deleter,
        work: CollectionWork,
        limits: CollectionLimits,
        clock: Clock,
        rand: Rand,
    ) -> None:
        self._owner_id = owner_id
        self._session = session
        self._watcher = watcher
        self._registry = registry
        self._dropped = dropped
        self._deleter = deleter
        self._work = work
        self._limits = limits
        self._clock = clock
        self._rand = rand
        self._swept_at_ms = 0
        self._taken: dict[TopicPartition, LeaderEpoch] = {}

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._repeat, "own chain", self._work.own_chain.round)
            nursery.start_soon(self._repeat, "dropped objects", self._delete_dropped)
            nursery.start_soon(self._repeat, "partitions taken over", self._sweep_taken)
            nursery.start_soon(self._repeat, "unowned", self._collect_unowned)
            nursery.start_soon(self._sweep_now_and_then)

    def statistics(self) -> CollectionStatistics:
        return CollectionStatistics(
            deleted=self._deleter.statistics(),
            waiting=len(self._dropped),
            waiting_max=self._dropped.count_max,
            collects_unowned=self._is_elected(),
            swept_at_ms=self._swept_at_ms,
        )

    async def _repeat(self, what: str, work: Callable[[], Awaitable[bool]]) -> None:
        """`work` says whether it found something to do: then it is called again after the first pause."""
        pause_seconds = self._limits.check_seconds
        while True:
            await trio.sleep(pause_seconds * self._rand.uniform(0.9, 1.1))
            busy = False
            try:
                busy = await work()
            except KafscaleError as error:
                log.warning("collection_failed", of=what, reason=error.reason.value, error=error.message)
            longest_seconds = self._limits.check_seconds * CHECKS_QUIET_MAX
            pause_seconds = self._limits.check_seconds if busy else min(2 * pause_seconds, longest_seconds)

    # What every owner does

    async def _delete_dropped(self) -> bool:
        """What own commits dropped. It is found again as an orphan should this process end before."""
        found = False
        while True:
            taken = self._dropped.take(
                dropped_before=trio.current_time() - self._limits.delay_seconds,
                count_max=_DROPPED_AT_ONCE_MAX,
            )
            if not taken:
                return found or len(self._dropped) > 0
            found = True
            try:
                await self._deleter.delete(
                    [Deletable(key=each.key, size_bytes=0, allowed=Allowed.DROPPED) for each in taken]
                )
            except KafscaleError:
                self._dropped.put_back(taken)
                raise

    async def _sweep_taken(self) -> bool:
        """Who had these partitions before may have left orphans; under a first epoch nobody had."""
        held = {partition.tp: partition for partition in self._registry if partition.leader_epoch > 0}
        self._taken = {tp: epoch for tp, epoch in self._taken.items() if tp in held}
        new = [each for tp, each in held.items() if self._taken.get(tp) != each.leader_epoch]
        new = new[:TAKEN_AT_ONCE_MAX]
        await self._work.sweep.sweep_folders(each.folder for each in new)
        self._taken.update({each.tp: each.leader_epoch for each in new})
        return bool(new)

    # What one owner does

    def _is_elected(self) -> bool:
        return collector_of(self._watcher.view.owners) == self._owner_id

    async def _collect_unowned(self) -> bool:
        session = self._session()
        if session is None or not self._is_elected():
            return False
        return await self._work.unowned.round(by=session)

    async def _sweep_now_and_then(self) -> None:
        pause_seconds = self._limits.sweep_seconds * FIRST_SWEEP_SHARE
        while True:
            await trio.sleep(pause_seconds * self._rand.uniform(0.9, 1.1))
            pause_seconds = self._limits.sweep_seconds
            if not self._is_elected():
                continue
            began_at = trio.current_time()
            try:
                await self._work.sweep.sweep()
            except KafscaleError as error:
                log.warning("sweep_failed", reason=error.reason.value, error=error.message)
                pause_seconds *= FIRST_SWEEP_SHARE
            else:
                self._swept_at_ms = self._clock.now_ms()
                log.info("bucket_swept", seconds=round(trio.current_time() - began_at, 1))


def collector_of(owners: Iterable[OwnerId]) -> OwnerId | None:
    """Who collects what nobody owns; None where there is no owner. The same answer in every process.

    A hash, not the least name: owners are numbered, and the first has no more time than the others.
    """
    return max(
        owners, key=lambda owner: (blake2b(owner.encode(), digest_size=8).digest(), owner), default=None
    )
