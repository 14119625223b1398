"""What an operator may ask of an owner: its state, a drain, a flush.

Owns: the meaning of these, typed; `OwnerControl` is what the control port's BrokerControl is made of. Does
not own: the gRPC service (control_rpc.py), hand-over (assignments.py).
Rules: 1 a drain goes through the metadata service, which chooses who takes over, and says plainly when
nobody can; 2 a drain that is late goes on: what is pending is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from libs.clients.metadata import MetadataClient
from libs.clients.view import ClusterView
from libs.clients.watcher import ClusterWatcher
from libs.concurrency.byte_budget import ByteBudget
from libs.model.errors import Invalid, NotFound, Unavailable
from libs.model.ids import OwnerId, Partition, SessionId, TopicName, TopicPartition
from services.partition_owner.assignments import Hold
from services.partition_owner.partition import PartitionPhase
from services.partition_owner.registry import Registry
from services.partition_owner.session import SessionKeeper

DRAIN_SECONDS_DEFAULT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    topic: TopicName
    tp: TopicPartition
    leader_epoch: int
    phase: PartitionPhase
    log_start_offset: int
    high_watermark: int
    in_flight_offset: int
    assigned_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What was handed over, and what was not when the deadline passed."""

    drained: tuple[TopicPartition, ...]
    pending: tuple[TopicPartition, ...]


class OwnerControl:
    """The owner's part of BrokerControl."""

    def __init__(
        self,
        *,
        owner_id: OwnerId,
        keeper: SessionKeeper,
        registry: Registry,
        metadata: MetadataClient,
        watcher: ClusterWatcher,
        unflushed: ByteBudget,
    ) -> None:
        self._owner_id = owner_id
        self._keeper = keeper
        self._registry = registry
        self._metadata = metadata
        self._watcher = watcher
        self._unflushed = unflushed

    @property
    def session(self) -> SessionId | None:
        return self._keeper.session

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were taken and are not durable yet."""
        return self._unflushed.used_bytes

    def partitions(self) -> list[PartitionStatus]:
        """Everything that is assigned here, by topic and index."""
        assignments = self._keeper.assignments
        holds = [] if assignments is None else assignments.holds
        return sorted(
            (self._status(hold) for hold in holds), key=lambda each: (each.topic, each.tp.partition)
        )

    def find(self, topic: str, index: int) -> TopicPartition:
        """Raises NotFound where there is no such topic."""
        known = self._watcher.view.topics_by_name.get(TopicName(topic))
        if known is None or not 0 <= index < known.partitions:
            raise NotFound(f"there is no partition {index} of a topic {topic!r}")
        return TopicPartition(known.topic_id, Partition(index))

    def name(self, tp: TopicPartition) -> TopicName:
        known = self._watcher.view.topics.get(tp.topic_id)
        return TopicName("") if known is None else known.name

    async def drain(
        self,
        partitions: Sequence[TopicPartition],
        *,
        all_assigned: bool,
        reason: str,
        deadline_seconds: float,
    ) -> Drained:
        """Hands partitions over and waits for it, as long as there is somebody who can take them.

        Raises Invalid(NOBODY_CAN_TAKE_OVER), Invalid where partitions are named that are not served here.
        """
        session = self._keeper.session
        if session is None:
            raise Unavailable("this owner has no session now; try again")
        held = self._held(session)
        wanted = held if all_assigned else set(partitions)
        if not all_assigned and (not wanted or not wanted <= held):
            raise Invalid("name partitions that this owner serves, or all_assigned")
        await self._metadata.drain_owner(
            self._owner_id, session, partitions=[] if all_assigned else sorted(wanted), reason=reason
        )
        with trio.move_on_after(deadline_seconds):
            await self._watcher.wait_until(
                lambda view: not wanted & self._held(session) or not self._has_heirs(view)
            )
        pending = wanted & self._held(session)
        return Drained(drained=tuple(sorted(wanted - pending)), pending=tuple(sorted(pending)))

    async def flush(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Makes everything buffered durable; returns those of `partitions` (all, if empty) that had
        something.
        """
        flusher = self._registry.flusher
        if flusher is None:
            raise Unavailable("this owner has no session now; try again")
        asked = set(partitions) or {partition.tp for partition in self._registry}
        buffered = flusher.buffered()
        await flusher.flush()
        return sorted(asked & buffered)

    def _has_heirs(self, view: ClusterView) -> bool:
        """When all owners stop at once, nobody has to wait for the others."""
        return any(each.owner_id != self._owner_id and not each.draining for each in view.owners.values())

    def _held(self, session: SessionId) -> set[TopicPartition]:
        return {
            tp
            for tp, each in self._watcher.view.assignments.items()
            if each.session == session and each.owner_id == self._owner_id
        }

    def _status(self, hold: Hold) -> PartitionStatus:
        partition = hold.partition
        if partition is None:
            return PartitionStatus(
                topic=self.name(hold.tp),
                tp=hold.tp,
                leader_epoch=hold.leader_epoch,
                phase=PartitionPhase.OPENING,
                log_start_offset=-1,
                high_watermark=-1,
                in_flight_offset=-1,
                assigned_offset=-1,
            )
        frontiers = partition.log
        return PartitionStatus(
            topic=self.name(hold.tp),
            tp=hold.tp,
            leader_epoch=hold.leader_epoch,
            phase=partition.phase,
            log_start_offset=frontiers.log_start,
            high_watermark=frontiers.durable,
            in_flight_offset=frontiers.in_flight,
            assigned_offset=frontiers.assigned,
        )
