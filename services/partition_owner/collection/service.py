"""Collection as one object: what the owner's service joins with the rest.

Owns: joining the parts. Does not own: settings' source, what each part does.
"""

from collections.abc import Callable

from libs.clients.metadata import MetadataClient
from libs.clients.watcher import ClusterWatcher
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.model.ids import OwnerId, SessionId
from libs.objectstore.port import ObjectStore
from services.partition_owner.collection.chains import ChainStarts
from services.partition_owner.collection.collector import (
    CollectionLimits,
    CollectionStatistics,
    CollectionWork,
    Collector,
)
from services.partition_owner.collection.deleter import Deleter
from services.partition_owner.collection.openings import Openings
from services.partition_owner.collection.own_chain import OwnChain
from services.partition_owner.collection.source import ReferenceSource
from services.partition_owner.collection.sweep import Sweep
from services.partition_owner.collection.unowned import Unowned
from services.partition_owner.compaction.dropped import DroppedObjects
from services.partition_owner.config import OwnerOptions
from services.partition_owner.registry import Registry
from services.partition_owner.sealing import Sealer


class Collection:
    """Collection of one owner: its own, and what nobody owns while it is elected for that."""

    def __init__(  # noqa: PLR0913 - all that it needs from outside, by name
        self,
        options: OwnerOptions,
        *,
        owner_id: OwnerId,
        session: Callable[[], SessionId | None],
        openings: Callable[[], Openings | None],
        registry: Registry,
        dropped: DroppedObjects,
        store: ObjectStore,
        metadata: MetadataClient,
        watcher: ClusterWatcher,
        sealer: Sealer,
        clock: Clock,
        rand: Rand,
    ) -> None:
        """`session`, `openings`: of the session that lives now."""
        self._enabled = options.collection_enabled
        delay_seconds = options.collection_delay_seconds
        deleter = Deleter(store, rand=rand)
        starts = ChainStarts(store, deleter, clock=clock, rand=rand)
        references = ReferenceSource(metadata)
        self._collector = Collector(
            owner_id=owner_id,
            session=session,
            watcher=watcher,
            registry=registry,
            dropped=dropped,
            deleter=deleter,
            work=CollectionWork(
                own_chain=OwnChain(
                    registry=registry,
                    openings=openings,
                    references=references,
                    starts=starts,
                    delay_seconds=delay_seconds,
                ),
                unowned=Unowned(
                    store=store,
                    metadata=metadata,
                    references=references,
                    sealer=sealer,
                    starts=starts,
                    deleter=deleter,
                    delay_seconds=delay_seconds,
                    rand=rand,
                ),
                sweep=Sweep(store=store, references=references, starts=starts, deleter=deleter, rand=rand),
            ),
            limits=CollectionLimits(
                check_seconds=options.collection_check_seconds,
                delay_seconds=delay_seconds,
                sweep_seconds=options.collection_sweep_seconds,
            ),
            clock=clock,
            rand=rand,
        )

    async def run(self) -> None:
        """Until cancelled; returns at once where collection is switched off."""
        if self._enabled:
            await self._collector.run()

    def statistics(self) -> CollectionStatistics:
        return self._collector.statistics()
