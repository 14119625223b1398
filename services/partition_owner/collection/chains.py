"""Moves the start of a chain, and deletes what is before it.

Owns: markers, and the order of marker and deletes. Does not own: where a chain may start (decide.py), whose
chain it is.
Rules (design section 3, rules 8 and 9): 1 the marker is in the store before anything below it goes, and a
greater one before a lesser; 2 what goes is decided by markers that a LIST showed, so that whoever sweeps,
with whatever it knows, does no harm; 3 a marker's key has all its meaning: a taken key is a success.
"""

from contextlib import suppress

import trio

from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.errors import Corrupt, Unavailable
from libs.model.ids import ChainSeq, SessionId
from libs.objectstore.port import ObjectInfo, ObjectStore
from libs.objectstore.retrying import RetryingObjectStore
from libs.segments.keys import (
    chain_indexes_prefix,
    chain_object_key,
    parse_chain_object_key,
    session_prefix,
    start_marker_key,
    start_markers_prefix,
)
from libs.segments.layout import NONCE_BYTES
from libs.segments.marker import StartMarker, encode_start_marker, greatest_start
from libs.segments.seal import Seal
from services.partition_owner.chain_writer import read_chain_object
from services.partition_owner.collection.decide import chain_garbage
from services.partition_owner.collection.deleter import PATIENCE, Deleter

_BACKOFF = Backoff(first_seconds=0.1, max_seconds=5.0)
_MARKER_ATTEMPTS_MAX = 8


class ChainStarts:
    """Any number of these, in any processes, may work on one chain."""

    def __init__(self, store: ObjectStore, deleter: Deleter, *, clock: Clock, rand: Rand) -> None:
        self._store = RetryingObjectStore(store, policy=PATIENCE, rand=rand)
        self._deleter = deleter
        self._clock = clock
        self._rand = rand

    async def move(self, session: SessionId, start: ChainSeq, *, end: ChainSeq | None = None) -> ChainSeq:
        """The chain starts at `start` or later, and what is before it is gone; returns the greatest marker.

        `end`: where a dead chain ends. Raises Unavailable.
        """
        markers = await list_all(self._store, start_markers_prefix(session))
        if start > greatest_start(each.key for each in markers):
            await self._put_marker(session, start)
        return await self.clear(session, end=end)

    async def clear(self, session: SessionId, *, end: ChainSeq | None = None) -> ChainSeq:
        """Deletes what the chain's markers allow; returns the greatest of them (0 without any)."""
        markers = await list_all(self._store, start_markers_prefix(session))
        start = greatest_start(each.key for each in markers)
        indexes = await list_all(self._store, chain_indexes_prefix(session))
        await self._deleter.delete(chain_garbage(session, [*markers, *indexes], end=end))
        greatest = [each for each in markers if each.key == start_marker_key(session, start)]
        prefix, after = session_prefix(session), ""
        while True:
            page = await self._store.list(prefix, start_after=after)
            await self._deleter.delete(
                chain_garbage(session, [*greatest, *filter(_is_place, page.objects)], end=end)
            )
            after = page.objects[-1].key if page.objects else ""
            # Places come first and in order: behind the start nothing more goes, unless all of it is over.
            if not page.truncated or (after >= chain_object_key(session, start) and end != start):
                return start

    async def sweep(self, session: SessionId) -> None:
        """Deletes what is left over of any chain, by what the bucket alone says: late PUTs, void seals."""
        markers = await list_all(self._store, start_markers_prefix(session))
        start = greatest_start(each.key for each in markers)
        with suppress(Corrupt):  # a damaged object is no end; whoever reads the chain tells of it
            if isinstance(await read_chain_object(self._store, session, start), Seal):
                await self.clear(session, end=start)  # all before it was collected: it has no data any more
                return
        await self.clear(session)

    async def _put_marker(self, session: SessionId, seq: ChainSeq) -> None:
        marker = StartMarker(
            session=session, seq=seq, nonce=self._rand.nonce(NONCE_BYTES), created_ms=self._clock.now_ms()
        )
        body = encode_start_marker(marker)
        for failures in range(1, _MARKER_ATTEMPTS_MAX + 1):
            try:
                await self._store.put_if_absent(start_marker_key(session, seq), body)
            except Unavailable:
                if failures == _MARKER_ATTEMPTS_MAX:
                    raise
                await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))
            else:
                return


def _is_place(found: ObjectInfo) -> bool:
    return parse_chain_object_key(found.key) is not None


async def is_before_start(store: ObjectStore, session: SessionId, seq: ChainSeq) -> bool:
    """Whether the chain's markers say that this place may be gone: then a seal there is void (rule 8).

    Raises Unavailable.
    """
    markers = await list_all(store, start_markers_prefix(session))
    return seq < greatest_start(each.key for each in markers)


async def list_all(store: ObjectStore, prefix: str) -> list[ObjectInfo]:
    """Every object with the prefix. Raises Unavailable."""
    found: list[ObjectInfo] = []
    after = ""
    while True:
        page = await store.list(prefix, start_after=after)
        found.extend(page.objects)
        if not page.truncated:
            return found
        after = page.objects[-1].key
