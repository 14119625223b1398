"""Writes the objects of a session's chain: the same key and bytes until it succeeds, or the session is over.

Owns: design section 3, rule 5, one object at a time; index objects. Does not own: order and window
(chain.py).
Rules: 1 the store's own refusal (409, 503, ...) is a retry; 2 after two failures without a status the key
is read before the next PUT; 3 a taken key is resolved by reading: my nonce means that it had succeeded; a
seal, foreign bytes or nothing there mean that the session is over; 4 an index is an aid: it is retried,
never waited for.
"""

from contextlib import suppress

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.errors import Corrupt, Fenced, Invalid, NotFound, Reason, Unavailable
from libs.model.ids import ChainSeq, SessionId
from libs.objectstore.port import ObjectStore, PutResult
from libs.segments.chain import is_mine
from libs.segments.envelope import NeedMore
from libs.segments.index import encode_index
from libs.segments.keys import ChainPosition, chain_index_key, chain_object_key
from libs.segments.layout import SUFFIX_BYTES_HINT
from libs.segments.seal import Seal, classify_chain_object
from libs.segments.wal import WalFooter

_BACKOFF = Backoff(first_seconds=0.02, max_seconds=2.0)
_INDEX_ATTEMPTS_MAX = 5
_UNANSWERED_MAX = 2

log = structlog.get_logger(__name__)


async def read_chain_object(store: ObjectStore, session: SessionId, seq: ChainSeq) -> WalFooter | Seal | None:
    """What holds a place of a chain; None for nothing. Raises Corrupt and Unavailable."""
    key, at = chain_object_key(session, seq), ChainPosition(session, seq)
    length = SUFFIX_BYTES_HINT
    while True:
        try:
            suffix, size_bytes = await store.get_suffix(key, length)
        except NotFound:
            return None
        found = classify_chain_object(suffix, size_bytes, at=at)
        if not isinstance(found, NeedMore):
            return found
        length = found.size_bytes


class ChainWriter:
    """PUTs for one session."""

    def __init__(self, *, store: ObjectStore, session: SessionId, rand: Rand) -> None:
        self._store = store
        self._session = session
        self._rand = rand
        self.retries = 0
        """PUTs that were sent again."""

    async def write(self, seq: ChainSeq, body: bytes, nonce: bytes) -> None:
        """Returns when the object is in the store as this session's. Raises Fenced(SESSION_OVER)."""
        key = chain_object_key(self._session, seq)
        failures = unanswered = 0
        while True:
            try:
                if await self._store.put_if_absent(key, body) is PutResult.CREATED:
                    return
                await self._resolve_taken(seq, nonce)
                return
            except (Unavailable, Invalid) as error:
                failures += 1
                self.retries += 1
                unanswered += isinstance(error, Unavailable) and error.outcome_unknown
                log.warning(
                    "chain_put_failed",
                    session=str(self._session),
                    seq=seq,
                    failures=failures,
                    outcome_unknown=isinstance(error, Unavailable) and error.outcome_unknown,
                    error=error.message,
                )
            await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))
            if unanswered >= _UNANSWERED_MAX and await self._is_there(seq, nonce):
                return

    async def write_seal(self, seal: Seal, body: bytes) -> bool:
        """Ends the chain at its end, by its own writer. False where somebody else took the place."""
        try:
            await self.write(seal.seq, body, seal.nonce)
        except Fenced:
            with suppress(Fenced):
                # A seal ends the chain there whoever wrote it: this one after a lost reply, or a racer's.
                return isinstance(await self._read(seal.seq), Seal)
            return False
        return True

    async def write_index(self, footers: list[WalFooter]) -> None:
        """Writes the index over these footers; gives up after a few failures: readers do without."""
        first = footers[0].seq
        try:
            body = encode_index(footers)
        except ValueError as error:
            log.warning("chain_index_left_out", session=str(self._session), seq=first, error=str(error))
            return
        for failures in range(1, _INDEX_ATTEMPTS_MAX + 1):
            try:
                await self._store.put_if_absent(chain_index_key(self._session, first), body)
            except (Unavailable, Invalid) as error:
                log.info("chain_index_put_failed", seq=first, failures=failures, error=error.message)
                await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))
            else:
                return

    async def _resolve_taken(self, seq: ChainSeq, nonce: bytes) -> None:
        """The key is taken: mine, or the session is over."""
        found = await self._read(seq)
        if not is_mine(found, nonce):
            raise self._over(seq, found)

    async def _is_there(self, seq: ChainSeq, nonce: bytes) -> bool:
        """After failures without a status: whether an earlier PUT landed after all."""
        found = await self._read(seq)
        if found is None:
            return False
        if not is_mine(found, nonce):
            raise self._over(seq, found)
        return True

    async def _read(self, seq: ChainSeq) -> WalFooter | Seal | None:
        """Reads until the store answers. Bytes that are no chain object are foreign: the session is over."""
        failures = 0
        while True:
            try:
                return await read_chain_object(self._store, self._session, seq)
            except Corrupt as error:
                log.error("chain_object_foreign", session=str(self._session), seq=seq, error=error.message)
                raise self._over(seq, None) from error
            except (Unavailable, Invalid) as error:
                failures += 1
                log.warning("chain_read_failed", seq=seq, failures=failures, error=error.message)
            await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))

    def _over(self, seq: ChainSeq, found: WalFooter | Seal | None) -> Fenced:
        if isinstance(found, Seal):
            what = f"was sealed at {found.seq} by {found.sealer_owner}"
        elif found is None:
            what = f"has lost its place {seq}: it was collected or damaged"
        else:
            what = f"has a foreign object at {seq}"
        return Fenced(f"the chain of session {self._session} {what}", reason=Reason.SESSION_OVER)
