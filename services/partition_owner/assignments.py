"""Does what the controller wants of one session: opens, hands over and drops partitions as the watch says.

Owns: one task for each partition held. Does not own: how to open (opening.py) and release (handover.py).
Rules: 1 only assignments to this owner and this session count; 2 a partition that was released, or lost, is
served again only under a higher epoch (design section 3, rule 11); 3 a lost watch changes nothing (promise
6).
"""

from enum import IntEnum

import structlog
import trio

from libs.clients.watcher import ClusterWatcher
from libs.model.cluster import Assignment, AssignmentState
from libs.model.errors import Unavailable
from libs.model.ids import LeaderEpoch, OwnerId, SessionId, TopicPartition
from services.partition_owner.collection.openings import Openings
from services.partition_owner.handover import HandOver
from services.partition_owner.opening import Opener
from services.partition_owner.partition import Partition
from services.partition_owner.registry import Registry
from services.partition_owner.wake import Wake

log = structlog.get_logger(__name__)


class Wanted(IntEnum):
    """What is to become of a partition that is held; it only goes up."""

    HELD = 0
    RELEASED = 1
    LOST = 2


class Hold:
    """One epoch of one partition, as long as the assignment says that it is this session's."""

    def __init__(self, tp: TopicPartition, leader_epoch: LeaderEpoch) -> None:
        self.tp = tp
        self.leader_epoch = leader_epoch
        self.wanted = Wanted.HELD
        self.partition: Partition | None = None
        self._wake = Wake()
        self._scope: trio.CancelScope | None = None

    def want(self, wanted: Wanted) -> None:
        if wanted > self.wanted:
            self.wanted = wanted
            self._wake.set()
            if self._scope is not None:
                self._scope.cancel()

    def new_scope(self) -> trio.CancelScope:
        """A scope that is cancelled once the partition is not to be held any more."""
        self._scope = trio.CancelScope()
        if self.wanted is not Wanted.HELD:
            self._scope.cancel()
        return self._scope

    async def wait_unwanted(self) -> None:
        while self.wanted is Wanted.HELD:
            await self._wake.wait()


class Assignments:
    """The holds of one session."""

    def __init__(
        self,
        *,
        owner_id: OwnerId,
        session: SessionId,
        watcher: ClusterWatcher,
        registry: Registry,
        opener: Opener,
        hand_over: HandOver,
        opening_at_once_max: int,
        openings: Openings,
    ) -> None:
        self._owner_id = owner_id
        self._session = session
        self._watcher = watcher
        self._registry = registry
        self._opener = opener
        self._hand_over = hand_over
        self._places = trio.Semaphore(opening_at_once_max, max_value=opening_at_once_max)
        self._holds: dict[TopicPartition, Hold] = {}
        self.openings = openings

    @property
    def holds(self) -> list[Hold]:
        """All that are assigned, open or not."""
        return list(self._holds.values())

    async def run(self) -> None:
        """Follows the watch until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                version = self._watcher.view.version
                self._reconcile(nursery)
                await self._watcher.wait_changed(version)

    def _reconcile(self, nursery: trio.Nursery) -> None:
        view = self._watcher.view
        assigned = {
            tp: each
            for tp, each in view.assignments.items()
            if each.session == self._session and each.owner_id == self._owner_id
        }
        for tp, hold in list(self._holds.items()):
            if tp not in assigned or tp.topic_id not in view.topics:
                self._lose(hold)
                del self._holds[tp]
        for tp, each in assigned.items():
            topic = view.topics.get(tp.topic_id)
            if topic is not None:
                self._follow(nursery, tp, each)
                held = self._holds[tp].partition
                if held is not None and held.topic is not topic:
                    held.take_topic(topic)

    def _follow(self, nursery: trio.Nursery, tp: TopicPartition, assigned: Assignment) -> None:
        hold = self._holds.get(tp)
        if hold is None or hold.leader_epoch < assigned.leader_epoch:
            if hold is not None:
                self._lose(hold)
            hold = self._holds[tp] = Hold(tp, assigned.leader_epoch)
            self.openings.begin(tp, assigned.leader_epoch)
            nursery.start_soon(self._keep, hold)
        if assigned.state is AssignmentState.RELEASING and hold.leader_epoch == assigned.leader_epoch:
            hold.want(Wanted.RELEASED)

    def _lose(self, hold: Hold) -> None:
        """At once, so that no append slips in before the same partition is opened under its next epoch."""
        hold.want(Wanted.LOST)
        if hold.partition is not None:
            self._registry.drop(hold.partition)

    async def _keep(self, hold: Hold) -> None:
        """The life of a hold: open it, serve it, give it up."""
        began_at = trio.current_time()
        try:
            partition = await self._opener.open(
                hold.tp, hold.leader_epoch, new_scope=hold.new_scope, places=self._places
            )
            if partition is None:
                if hold.wanted is Wanted.RELEASED:
                    await self._hand_over.release_unopened(hold.tp, hold.leader_epoch)
                return
            if hold.wanted is not Wanted.LOST:
                hold.partition = partition
                topic = self._watcher.view.topics.get(hold.tp.topic_id)
                if topic is not None:
                    partition.take_topic(topic)  # its settings may have changed since they were read
                self._registry.add(partition)
                log.info(
                    "partition_opened",
                    tp=str(hold.tp),
                    epoch=hold.leader_epoch,
                    next_offset=partition.log.assigned,
                    seconds=round(trio.current_time() - began_at, 3),
                )
                await hold.wait_unwanted()
            if hold.wanted is Wanted.RELEASED:
                await self._hand_over.release(partition)
            else:
                log.info("partition_lost", tp=str(hold.tp), epoch=hold.leader_epoch)
        except Unavailable as error:
            if hold.partition is not None:
                self._registry.drop(hold.partition)
            log.info("partition_given_up", tp=str(hold.tp), epoch=hold.leader_epoch, error=error.message)
