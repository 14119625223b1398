"""Opens a partition: seals who had it before, reads what they wrote, records the own position (rule 10).

Owns: the steps and their repetition. Does not own: sealing, reading, the rebuilt state, which partition when.
Rules (design section 3): 1 every predecessor is sealed or released before a chain is read; the manifest needs
no waiting: it is the one that the guarded state names; 2 (session, from,
open) is in the metadata store before the first append; 3 a write whose outcome is unknown is read back before
anything else (rule 14): every round begins with a read; 4 a partition that moved on is given up at once.
"""

from collections.abc import Callable
from dataclasses import replace

import structlog
import trio

from libs.clients.metadata import MetadataClient, PartitionRecord
from libs.clients.view import ClusterView
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.cluster import Assignment, ChainPosition, PartitionState
from libs.model.errors import Corrupt, Fenced, KafscaleError, Moved, NotFound, Reason
from libs.model.ids import LeaderEpoch, TopicPartition
from libs.objectstore.port import ObjectStore
from libs.segments.manifest import Manifest
from libs.telemetry.spans import span
from services.partition_owner.collection.openings import Openings
from services.partition_owner.flusher import Flusher
from services.partition_owner.footers import FooterReader
from services.partition_owner.manifests import read_manifest
from services.partition_owner.parallel import for_each
from services.partition_owner.partition import Partition
from services.partition_owner.producers import ProducerStates
from services.partition_owner.rebuild import ReadPosition, Rebuilt, rebuild
from services.partition_owner.sealing import Sealer
from services.partition_owner.topic_objects import TopicObjects

_BACKOFF = Backoff(first_seconds=0.05, max_seconds=2.0)
_CORRUPT_BACKOFF = Backoff(first_seconds=5.0, max_seconds=60.0)
_POSITIONS_AT_ONCE_MAX = 16

log = structlog.get_logger(__name__)


class Opener:
    """Opens partitions for one session."""

    def __init__(  # noqa: PLR0913 - all that an opening needs, by name
        self,
        *,
        flusher: Flusher,
        store: ObjectStore,
        metadata: MetadataClient,
        view: ClusterView,
        sealer: Sealer,
        footers: FooterReader,
        new_producers: Callable[[], ProducerStates],
        topics: TopicObjects,
        openings: Openings,
        rand: Rand,
    ) -> None:
        self._flusher = flusher
        self._store = store
        self._metadata = metadata
        self._view = view
        self._sealer = sealer
        self._footers = footers
        self._new_producers = new_producers
        self._topics = topics
        self._openings = openings
        self._rand = rand

    async def open(
        self,
        tp: TopicPartition,
        epoch: LeaderEpoch,
        *,
        new_scope: Callable[[], trio.CancelScope],
        places: trio.Semaphore,
    ) -> Partition | None:
        """The partition, open under `epoch`; None where it is not to be opened any more.

        `new_scope` gives a scope that is cancelled when the partition is not wanted any more; it is not used
        around the transaction nor after it, until its outcome is known (rule 3). An attempt takes one of
        `places`; between two attempts none is held: damaged partitions don't keep the others waiting.
        """
        failures = 0
        while True:
            try:
                async with places:
                    with new_scope() as scope:
                        self._openings.begin_attempt(tp, epoch)
                        prepared = await self._prepare(tp, epoch)
                    if scope.cancelled_caught or prepared is None:
                        return None
                    partition, record, state = prepared
                    if state is not None:
                        new_scope = trio.CancelScope
                        self._openings.sending(tp, epoch)
                        with span("owner.open"):
                            record = await self._metadata.open_partition(tp, record, state)
                    partition.opened(record)
                    return partition
            except (NotFound, Moved) as error:
                if error.reason is not Reason.NO_SUCH_OBJECT:
                    log.info("partition_not_opened", tp=str(tp), epoch=epoch, error=error.message)
                    return None
                failures += 1  # the list of positions was old: read it again
                delay = self._note(tp, epoch, error, failures)
            except Corrupt as error:
                failures += 1
                log.error("partition_corrupt", tp=str(tp), epoch=epoch, error=error.message)
                delay = _CORRUPT_BACKOFF.delay_seconds(failures, self._rand)
            except KafscaleError as error:
                failures += 1
                delay = self._note(tp, epoch, error, failures)
                if isinstance(error, Fenced) and failures == 1:
                    delay = 0.0
            with new_scope() as scope:
                await trio.sleep(delay)
            if scope.cancelled_caught:
                return None

    def _note(self, tp: TopicPartition, epoch: LeaderEpoch, error: KafscaleError, failures: int) -> float:
        log.info("partition_open_retried", tp=str(tp), epoch=epoch, failures=failures, error=error.message)
        return _BACKOFF.delay_seconds(failures, self._rand)

    async def _prepare(
        self, tp: TopicPartition, epoch: LeaderEpoch
    ) -> tuple[Partition, PartitionRecord, PartitionState | None] | None:
        """The rebuilt partition and the state to write: None where an earlier attempt wrote it after all."""
        record = await self._metadata.get_partition(tp)
        assigned, topic = record.assignment, self._view.topics.get(tp.topic_id)
        if (assigned.session, assigned.leader_epoch) != (self._flusher.session, epoch) or topic is None:
            return None
        if record.state is None:  # before its first record the bucket has to know whose it will be
            await self._topics.ensure_exists(topic)
        state = record.state or PartitionState()
        manifest, closed = await self._read_manifest_and_close(tp, assigned, state)
        read = await self._read(tp, closed)
        rebuilt = rebuild(
            tp,
            read,
            manifest=manifest,
            log_start=state.log_start_offset,
            released_offset=state.released_offset,
            producers=self._new_producers(),
            now=trio.current_time(),
        )
        again = next((each.to_seq for each in closed if self._is_own(each, epoch)), None)
        partition = Partition(
            tp=tp,
            topic=topic,
            session=self._flusher.session,
            leader_epoch=epoch,
            log=rebuilt.log,
            producers=rebuilt.producers,
            first_seq=self._flusher.next_seq if again is None else again,
            manifest=manifest,
        )
        if again is not None:
            return partition, record, None
        return partition, record, self._new_state(state, closed, rebuilt, partition)

    def _is_own(self, position: ChainPosition, epoch: LeaderEpoch) -> bool:
        return (position.session, position.leader_epoch) == (self._flusher.session, epoch)

    async def _read_manifest_and_close(
        self, tp: TopicPartition, assigned: Assignment, state: PartitionState
    ) -> tuple[Manifest | None, list[ChainPosition]]:
        """At the same time, and what can be read ahead of the chains' ends: none needs the other."""
        manifests: list[Manifest] = []
        closed: list[ChainPosition] = []

        async def read() -> None:
            if state.manifest_key:
                manifests.append(await read_manifest(self._store, state.manifest_key, tp))

        async def close() -> None:
            closed.extend(await self._close(assigned, state))

        async def read_ahead() -> None:
            await self._read_ahead(state)

        await for_each((read, close, read_ahead), lambda call: call(), at_once_max=3)
        return next(iter(manifests), None), closed

    async def _read_ahead(self, state: PartitionState) -> None:
        """Of a chain that is being sealed: all but its tail has been there for long."""
        for position in state.positions:
            if position.to_seq is None and position.session != self._flusher.session:
                begin = await self._sealer.tail_begin(position.session)
                if begin is not None:
                    await self._footers.read_ahead(position.session, position.from_seq, begin)

    async def _close(self, assigned: Assignment, state: PartitionState) -> list[ChainPosition]:
        """Every position, closed: whoever wrote there is sealed, released it, or is ourselves."""
        own = self._flusher.session
        released = {(each.session, each.leader_epoch) for each in state.positions if each.to_seq is not None}
        for predecessor in assigned.predecessors:
            if predecessor.session != own and (predecessor.session, predecessor.leader_epoch) not in released:
                await self._sealer.seal(predecessor.session, by=own)
        closed: list[ChainPosition] = []
        for position in state.positions:
            if position.to_seq is not None:
                closed.append(position)
            elif position.session != own:
                ended = await self._sealer.seal(position.session, by=own)
                closed.append(replace(position, to_seq=max(ended.end, position.from_seq)))
            else:
                # Ours: whatever we served of it is closed here, so what is in flight is its last. Also under
                # this very epoch: it may have been lost from sight and come back, with records by then.
                end = self._flusher.next_seq
                await self._flusher.wait_durable(end - 1)
                closed.append(replace(position, to_seq=end))
        return closed

    async def _read(self, tp: TopicPartition, closed: list[ChainPosition]) -> list[ReadPosition]:
        """At the same time: a partition that moved often has many short positions, each some GETs."""
        found: dict[int, ReadPosition] = {}

        async def read(place: int) -> None:
            position = closed[place]
            assert position.to_seq is not None
            ranges = await self._footers.ranges(
                tp,
                position.session,
                position.from_seq,
                position.to_seq,
                chain_went_on=place < len(closed) - 1,
            )
            found[place] = ReadPosition(position=position, ranges=ranges)

        await for_each(range(len(closed)), read, at_once_max=_POSITIONS_AT_ONCE_MAX)
        return [found[place] for place in range(len(closed))]

    def _new_state(
        self, state: PartitionState, closed: list[ChainPosition], rebuilt: Rebuilt, partition: Partition
    ) -> PartitionState:
        # Positions without records are forgotten, unless they are all that tells where the log ends.
        end_known = bool(rebuilt.needed) or partition.manifest is not None or rebuilt.log.assigned == 0
        kept = rebuilt.needed if end_known else tuple(closed)
        own = ChainPosition(
            session=self._flusher.session,
            leader_epoch=partition.leader_epoch,
            from_seq=partition.first_seq,
            to_seq=None,
        )
        return PartitionState(
            log_start_offset=state.log_start_offset,
            manifest_key=state.manifest_key,
            positions=(*kept, own),
            released_offset=None,
        )
