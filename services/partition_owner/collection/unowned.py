"""Collects what nobody owns and the metadata store names as such: dead chains and deleted topics.

Owns: one pass over both. Does not own: when, and on which owner (collector.py); what may go (decide.py).
Rules: 1 a dead chain is sealed first, then the references are read, then its start moves to the least that
is needed, at last to its end (design section 3, rule 9; decide.py says why in this order); 2 the session's or
the topic's record goes last, when nothing is left that it would be needed for; 3 a deleted topic's tombstone
is in the bucket before its record goes: what late PUTs leave is found by it.

Two owners that both take themselves for the collector do no harm: seals, markers and tombstones are
conditional PUTs with the same meaning whoever makes them; what either deletes was free by references that
only free more with time; a record goes in a transaction that compares what showed it to be unneeded.
"""

from collections.abc import Sequence

import structlog
import trio

from libs.clients.metadata import MetadataClient
from libs.concurrency.rand import Rand
from libs.model.errors import KafscaleError
from libs.model.ids import ChainSeq, SessionId
from libs.model.references import DeletedTopicReference, References, SessionReferences
from libs.objectstore.port import ObjectStore
from libs.objectstore.retrying import RetryingObjectStore
from libs.segments.keys import tombstone_key, topic_prefix
from libs.segments.topic_object import Tombstone, encode_tombstone
from services.partition_owner.collection.chains import ChainStarts
from services.partition_owner.collection.decide import dead_start, is_ended, topic_garbage
from services.partition_owner.collection.deleter import PATIENCE, Deleter
from services.partition_owner.collection.source import ReferenceSource
from services.partition_owner.parallel import for_each
from services.partition_owner.sealing import Sealer

CHAINS_AT_ONCE_MAX = 4
_PASSES_MAX = 2

log = structlog.get_logger(__name__)


class Unowned:
    """`round` looks once at all that is dead or deleted."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        metadata: MetadataClient,
        references: ReferenceSource,
        sealer: Sealer,
        starts: ChainStarts,
        deleter: Deleter,
        delay_seconds: float,
        rand: Rand,
    ) -> None:
        self._store = RetryingObjectStore(store, policy=PATIENCE, rand=rand)
        self._metadata = metadata
        self._references = references
        self._sealer = sealer
        self._starts = starts
        self._deleter = deleter
        self._delay_seconds = delay_seconds
        self._dead_since: dict[SessionId, float] = {}
        self._ends: dict[SessionId, ChainSeq] = {}
        self._moved: dict[SessionId, ChainSeq] = {}

    async def round(self, *, by: SessionId) -> bool:
        """Whether anything went. `by`: the own session, for people. Raises Unavailable, and Fenced where the
        metadata store is not the one that it was. One damaged chain keeps no other.
        """
        moved = False
        for _ in range(_PASSES_MAX):
            sealed_before = frozenset(self._ends)
            found = await self._references.get(collectable=True)
            self._forget_gone(found.dead_sessions)
            judged = [each for each in found.dead_sessions if each.session in sealed_before]
            moved |= await self._free_chains(judged)
            if not await self._seal([each.session for each in found.dead_sessions], by):
                break
        moved |= await self._delete_topics(found)
        return moved

    # Dead chains

    def _forget_gone(self, dead: Sequence[SessionReferences]) -> None:
        """Memory of those that came back or whose record went."""
        now = trio.current_time()
        since = {each.session: self._dead_since.get(each.session, now) for each in dead}
        self._dead_since = since
        self._ends = {session: end for session, end in self._ends.items() if session in since}
        self._moved = {session: start for session, start in self._moved.items() if session in since}

    async def _seal(self, sessions: Sequence[SessionId], by: SessionId) -> bool:
        """Whether one more is sealed now. One that died just now is left alone: it may only have lost its
        lease, and would be back.
        """
        before = len(self._ends)
        long_ago = trio.current_time() - self._delay_seconds

        async def seal(session: SessionId) -> None:
            try:
                self._ends[session] = (await self._sealer.seal(session, by=by)).end
            except KafscaleError as error:
                log.warning("dead_chain_not_sealed", session=str(session), error=error.message)

        due = [each for each in sessions if each not in self._ends and self._dead_since[each] <= long_ago]
        await for_each(due, seal, at_once_max=CHAINS_AT_ONCE_MAX)
        return len(self._ends) > before

    async def _free_chains(self, dead: Sequence[SessionReferences]) -> bool:
        moved: list[SessionId] = []
        ended: list[SessionId] = []

        async def free(found: SessionReferences) -> None:
            end = self._ends[found.session]
            start = dead_start(found, end)
            if start is None:
                return
            if start > self._moved.get(found.session, ChainSeq(-1)):
                try:
                    start = await self._starts.move(found.session, start, end=end)
                except KafscaleError as error:
                    log.warning("dead_chain_not_moved", session=str(found.session), error=error.message)
                    return
                self._moved[found.session] = start
                moved.append(found.session)
                log.info("dead_chain_start_moved", session=str(found.session), start=start, end=end)
            if is_ended(found, self._moved[found.session], end):
                ended.append(found.session)

        await for_each(dead, free, at_once_max=CHAINS_AT_ONCE_MAX)
        if ended:
            await self._metadata.forget_collected(sessions=ended)
        return bool(moved)

    # Deleted topics

    async def _delete_topics(self, found: References) -> bool:
        gone: list[DeletedTopicReference] = []
        for topic in found.deleted_topics:
            try:
                await self._delete_topic(topic)
            except KafscaleError as error:
                log.warning("topic_not_collected", topic_id=str(topic.topic_id), error=error.message)
            else:
                gone.append(topic)
        if gone:
            await self._metadata.forget_collected(topics=[each.topic_id for each in gone])
        return bool(gone)

    async def _delete_topic(self, topic: DeletedTopicReference) -> None:
        """Returns once nothing of it is left, and the bucket says for ever that it was deleted."""
        tombstone = Tombstone(topic_id=topic.topic_id, name=topic.name, deleted_ms=topic.deleted_ms)
        await self._store.put_if_absent(tombstone_key(topic.topic_id), encode_tombstone(tombstone))
        prefix, after, objects = topic_prefix(topic.name, topic.topic_id), "", 0
        while True:
            page = await self._store.list(prefix, start_after=after)
            garbage = topic_garbage(topic.topic_id, page.objects)
            await self._deleter.delete(garbage)
            objects += len(garbage)
            if not page.truncated:
                break
            after = page.objects[-1].key
        log.info("topic_collected", topic=topic.name, topic_id=str(topic.topic_id), objects=objects)
