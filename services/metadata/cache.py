"""The watch cache of one replica: a ClusterState that follows the store.

Owns: loading the state, following it, waking who waits for a change. Does not own: what a change means.
Rules: 1 with the store gone the state stays as it was last heard, and is served (design section 4); 2 one
watch of the whole prefix, so that changes come in the order of revisions; those of offsets and groups are
passed over.
"""

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.concurrency.watermark import Watermark
from libs.model.errors import Corrupt, Fenced, KafscaleError
from libs.model.ids import Revision
from services.metadata import keys
from services.metadata.cluster_state import WATCHED, Changed, ClusterState
from services.metadata.kv.port import KV, Deleted, KeyValue, WatchBatch
from services.metadata.rpc_watch import RING_EVENTS_MAX, Feed

PAGE_ITEMS = 1000
_BACKOFF = Backoff(first_seconds=0.1, max_seconds=2.0)

log = structlog.get_logger(__name__)


class Cache:
    """`state` is what was last heard; `feed` tells it to watchers."""

    def __init__(self, kv: KV, *, rand: Rand, ring_events_max: int = RING_EVENTS_MAX) -> None:
        self.state = ClusterState()
        self.feed = Feed(lambda: self.state, ring_events_max=ring_events_max)
        self._kv = kv
        self._rand = rand
        self._changed = trio.Event()
        self._loaded = trio.Event()
        self._reached = Watermark()
        self._connected = False

    @property
    def loaded(self) -> bool:
        return self._loaded.is_set()

    @property
    def connected(self) -> bool:
        """Whether the store's watch is up now."""
        return self._connected

    async def wait_loaded(self) -> None:
        await self._loaded.wait()

    async def wait_changed(self) -> None:
        """Returns at the next change of the state."""
        await self._changed.wait()

    async def wait_revision(self, revision: Revision) -> None:
        """Waits until the state is at least of this revision."""
        await self._reached.wait_at_least(revision)

    async def catch_up(self) -> None:
        """Waits until the state is as new as the store was when this was called. Raises Unavailable."""
        result = await self._kv.range(keys.CLUSTER, limit=1)
        await self.wait_revision(result.revision)

    async def plausible(self, revision: Revision) -> Revision:
        """`revision` where the store has reached it, else 0: it is of a store that is no more."""
        if revision > self.state.revision and self.loaded:
            try:
                result = await self._kv.range(keys.CLUSTER, limit=1)
            except KafscaleError:
                return revision  # nothing is known against it
            if result.revision < revision:
                return Revision(0)
        return revision

    async def run(self) -> None:
        """Follows the store for ever; ends only by cancellation."""
        failures = 0
        while True:
            try:
                if not self.loaded:
                    await self._load()
                await self._follow()
            except Fenced as error:
                log.warning("cache_reloads", reason=error.reason.value, error=error.message)
                self._loaded = trio.Event()
            except KafscaleError as error:
                if self._connected or not failures:  # once an outage, not once an attempt
                    log.warning("cache_watch_lost", reason=error.reason.value, error=error.message)
            failures = 1 if self._connected else failures + 1
            self._connected = False
            await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))

    async def _load(self) -> None:
        items: list[KeyValue] = []
        revision: Revision | None = None
        for prefix in WATCHED:
            start_after, more = "", True
            while more:
                page = await self._kv.range(
                    prefix, start_after=start_after, limit=PAGE_ITEMS, revision=revision
                )
                revision = page.revision if revision is None else revision
                items.extend(page.items)
                more = page.more
                start_after = page.items[-1].key if page.items else ""
        assert revision is not None
        self.state = ClusterState()
        for item in items:
            self._apply_one(item)
        self.state.revision = revision
        self.feed.restart()
        self._loaded.set()
        self._tell()

    async def _follow(self) -> None:
        async with self._kv.watch("", after_revision=self.state.revision) as batches:
            async for batch in batches:
                self._connected = True
                self._apply(batch)

    def _apply(self, batch: WatchBatch) -> None:
        if batch.revision < self.state.revision:
            return
        self.state.revision = batch.revision
        changes = [change for event in batch.events if (change := self._apply_one(event)) is not None]
        if changes:
            self.feed.publish(changes)
        if any(event.key.startswith(WATCHED) for event in batch.events):
            self._tell()
        else:
            self._reached.advance(self.state.revision)

    def _apply_one(self, event: KeyValue | Deleted) -> Changed | None:
        try:
            return self.state.apply(event)
        except Corrupt as error:
            # Somebody wrote to the store by hand: what was known of this one key is kept, the rest goes on.
            log.error("stored_value_unreadable", key=event.key, error=error.message)
            return None

    def _tell(self) -> None:
        self._reached.advance(self.state.revision)
        self._changed.set()
        self._changed = trio.Event()
