"""What the controller does now and then: bounding the store's history.

Owns: compaction by revision count. Does not own: the end of sessions' and deleted topics' records: these go
when their objects are collected (references.py).
Rules: 1 in a quiet cluster it writes nothing.
"""

from collections.abc import Callable

import structlog
import trio

from libs.model.errors import KafscaleError
from libs.model.ids import Revision
from services.metadata.cache import Cache
from services.metadata.kv.port import KV, ModRevisionIs

EVERY_SECONDS = 60.0

log = structlog.get_logger(__name__)


class Housekeeping:
    def __init__(
        self, kv: KV, cache: Cache, *, history_revisions: int, every_seconds: float = EVERY_SECONDS
    ) -> None:
        self._kv = kv
        self._cache = cache
        self._history_revisions = history_revisions
        self._every_seconds = every_seconds
        self._compacted = Revision(0)

    async def run(self, guard: Callable[[], ModRevisionIs | None]) -> None:
        """Until cancelled. `guard` gives None while another replica is the controller."""
        while True:
            await trio.sleep(self._every_seconds)
            if guard() is None:
                continue
            try:
                await self.compact()
            except KafscaleError as error:
                log.warning("housekeeping_failed", reason=error.reason.value, error=error.message)

    async def compact(self) -> None:
        """Keeps `history_revisions` and, so that it is rarely done, up to as many more. Raises
        Unavailable.
        """
        revision = self._cache.state.revision
        if revision - self._compacted > 2 * self._history_revisions:
            self._compacted = Revision(revision - self._history_revisions)
            await self._kv.compact(self._compacted)
            log.info("history_compacted", revision=self._compacted)
