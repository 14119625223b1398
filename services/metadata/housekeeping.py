"""What the controller does now and then: ending records of sessions that are over, bounding the store's
history.

Owns: the end of SESSIONS, compaction by revision count. Does not own: objects of dead chains (the owners').
Rules:
1 a session's record goes when its owner's registration names it no more and no assignment and no partition
  state does: the chain's objects hold nothing that is needed;
2 references move from assignments to partition states and never back, so assignments are read first;
3 in a quiet cluster it writes nothing.
"""

from collections.abc import Callable

import structlog
import trio

from libs.model.errors import KafscaleError
from libs.model.ids import Revision, SessionId
from services.metadata import keys, stored
from services.metadata.cache import PAGE_ITEMS, Cache
from services.metadata.kv.port import ABSENT, KV, Delete, ModRevisionIs
from services.metadata.stored import SessionRecord, Stored

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
        """Until cancelled. `guard` gives what the controller's writes compare, None while it is another
        replica.
        """
        while True:
            await trio.sleep(self._every_seconds)
            elected = guard()
            if elected is None:
                continue
            try:
                await self.end_sessions(elected)
                await self.compact()
            except KafscaleError as error:
                log.warning("housekeeping_failed", reason=error.reason.value, error=error.message)

    async def end_sessions(self, elected: ModRevisionIs) -> int:
        """How many records went. Raises Unavailable."""
        await self._cache.catch_up()
        candidates = self._unreferenced()
        if candidates:
            candidates = await self._without_positions(candidates)
        ended = 0
        for session, record in candidates.items():
            owner = self._cache.state.owners.get(record.value.owner_id)
            guards = [
                elected,
                ModRevisionIs(key=keys.session(session), revision=record.revision),
                # A registration names its session: were it back, the record would be needed.
                ModRevisionIs(
                    key=keys.owner(record.value.owner_id),
                    revision=ABSENT if owner is None else owner.revision,
                ),
            ]
            if (await self._kv.txn(guards, [Delete(key=keys.session(session))])).succeeded:
                ended += 1
        if ended:
            log.info("sessions_ended", sessions=ended)
        return ended

    def _unreferenced(self) -> dict[SessionId, Stored[SessionRecord]]:
        state = self._cache.state
        named = {owner.value.session for owner in state.owners.values()}
        for _, assignment in state.all_assignments():
            named.add(assignment.value.session)
            named.update(predecessor.session for predecessor in assignment.value.predecessors)
        return {session: record for session, record in state.sessions.items() if session not in named}

    async def _without_positions(
        self, candidates: dict[SessionId, Stored[SessionRecord]]
    ) -> dict[SessionId, Stored[SessionRecord]]:
        left = dict(candidates)
        start_after, more = "", True
        while more and left:
            page = await self._kv.range(keys.PARTITIONS, start_after=start_after, limit=PAGE_ITEMS)
            for item in page.items:
                start_after = item.key
                for position in stored.partition_state(item).value.positions:
                    left.pop(position.session, None)
            more = page.more
        return left

    async def compact(self) -> None:
        """Keeps `history_revisions` and, so that it is rarely done, up to as many more. Raises
        Unavailable.
        """
        revision = self._cache.state.revision
        if revision - self._compacted > 2 * self._history_revisions:
            self._compacted = Revision(revision - self._history_revisions)
            await self._kv.compact(self._compacted)
            log.info("history_compacted", revision=self._compacted)
