"""Ends the chains of sessions that are gone: drives libs/segments' seal plan against the store.

Owns: reads, seals and lists of a takeover; who was sealed where. Does not own: the decisions
(libs/segments/chain).
Rules (design section 3): 1 any number of sealers may race, all find the same end (rule 7); 2 the markers
are listed after a seal was written or found (rule 8), and before, so that a collected prefix is not
searched; 3 a chain is sealed once a process, shared by all who need it; its end never changes; 4 what fails
is tried again in its place for a while: starting over, a long tail would hardly ever end on a busy store.
"""

from collections.abc import Awaitable, Callable

import structlog
import trio

from libs.clients.metadata import MetadataClient
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff, RetryPolicy
from libs.concurrency.single_flight import SingleFlight
from libs.model.errors import KafscaleError, Unavailable
from libs.model.ids import ChainSeq, OwnerId, SessionId
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.objectstore.port import ObjectStore, PutResult
from libs.objectstore.retrying import RetryingObjectStore
from libs.segments.chain import Ended, ListMarkers, PutSeals, ReadSlots, SealPlan, Slot
from libs.segments.keys import (
    chain_indexes_prefix,
    chain_object_key,
    parse_chain_index_key,
    start_markers_prefix,
)
from libs.segments.layout import NONCE_BYTES
from libs.segments.marker import greatest_start
from libs.segments.seal import Seal, encode_seal
from libs.segments.wal import WalFooter
from services.partition_owner.chain_writer import read_chain_object
from services.partition_owner.parallel import for_each

_SESSIONS_AT_ONCE_MAX = 16
_REQUESTS_AT_ONCE_MAX = 32
"""Also what is read first: a tail behind the last index is half as long in the mean as one index covers."""
_ENDS_KEPT_MAX = 100_000
_PATIENCE = RetryPolicy(
    backoff=Backoff(first_seconds=0.1, max_seconds=2.0), attempts_max=8, elapsed_seconds_max=20.0
)

log = structlog.get_logger(__name__)


class Sealer:
    """`seal` any session but the own live one. `nursery` outlives the callers."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        metadata: MetadataClient,
        owner_id: OwnerId,
        clock: Clock,
        rand: Rand,
        nursery: trio.Nursery,
        on_footer: Callable[[WalFooter], None],
    ) -> None:
        """`on_footer` gets the footers that were read on the way: a takeover needs them next."""
        self._store = RetryingObjectStore(store, policy=_PATIENCE, rand=rand)
        self._metadata = metadata
        self._owner_id = owner_id
        self._clock = clock
        self._rand = rand
        self._nursery = nursery
        self._on_footer = on_footer
        self._flights: SingleFlight[SessionId, Ended] = SingleFlight(nursery, runs_max=_SESSIONS_AT_ONCE_MAX)
        self._ends: dict[SessionId, Ended] = {}
        self._searches: SingleFlight[SessionId, ChainSeq] = SingleFlight(
            nursery, runs_max=_SESSIONS_AT_ONCE_MAX
        )
        self._tails: dict[SessionId, ChainSeq] = {}

    async def tail_begin(self, session: SessionId) -> ChainSeq | None:
        """Where the search for the chain's end begins: what is below it is collected or may have an index.

        Known long before the end, so that the indexes can be read meanwhile; None where the end is known.
        Raises Unavailable.
        """
        if session in self._ends:
            return None
        begin = self._tails.get(session)
        return await self._search(session) if begin is None else begin

    async def _search(self, session: SessionId) -> ChainSeq:
        return await self._searches.run(session, lambda: self._search_from(session))

    async def seal(self, session: SessionId, *, by: SessionId) -> Ended:
        """The chain of `session` is [start, end) for ever. `by`: the own session, for people.

        Raises Unavailable where the store fails, Corrupt where an object in the chain is damaged.
        """
        ended = self._ends.get(session)
        if ended is None:
            ended = await self._flights.run(session, lambda: self._drive(session, by))
        return ended

    async def _drive(self, session: SessionId, by: SessionId) -> Ended:
        began_at = trio.current_time()
        begin = self._tails[session] = await self._search(session)
        try:
            plan, ended = await self._find_end(
                session, SealPlan.begin(begin, read_ahead=_REQUESTS_AT_ONCE_MAX), by
            )
        finally:
            self._tails.pop(session, None)  # one that was given up and still ends may have been before us
        if len(self._ends) >= _ENDS_KEPT_MAX:
            self._ends.clear()
        self._ends[session] = ended
        log.info(
            "chain_sealed",
            session=str(session),
            end=ended.end,
            rounds=plan.rounds,
            seconds=round(trio.current_time() - began_at, 3),
        )
        self._nursery.start_soon(self._tell, session, ended.end)
        return ended

    async def _find_end(self, session: SessionId, plan: SealPlan, by: SessionId) -> tuple[SealPlan, Ended]:
        while True:
            action = plan.next_action()
            match action:
                case ReadSlots(seqs):
                    for seq, slot in await self._read(session, seqs):
                        plan = plan.saw(seq, slot)
                case PutSeals(seqs):
                    for seq, created in await self._put_seals(session, seqs, by):
                        plan = plan.put(seq, created=created)
                case ListMarkers():
                    plan = plan.listed(await self._list_start(session))
                case Ended():
                    return plan, action

    async def _search_from(self, session: SessionId) -> ChainSeq:
        """Where the tail may be: behind the last index, which is written once all it covers is durable."""
        found: list[ChainSeq] = []

        async def ask(listed: Callable[[SessionId], Awaitable[ChainSeq]]) -> None:
            found.append(await listed(session))

        await for_each((self._list_start, self._list_indexed), ask, at_once_max=2)
        return max(found)

    async def _list_indexed(self, session: SessionId) -> ChainSeq:
        prefix, after = chain_indexes_prefix(session), ""
        end = ChainSeq(0)
        while True:
            page = await self._store.list(prefix, start_after=after)
            for found in page.objects:
                position = parse_chain_index_key(found.key)
                if position is not None:
                    end = max(end, ChainSeq(position.seq + CHAIN_INDEX_EVERY))
                after = found.key
            if not page.truncated:
                return end

    async def _list_start(self, session: SessionId) -> ChainSeq:
        prefix, after = start_markers_prefix(session), ""
        start = ChainSeq(0)
        while True:
            page = await self._store.list(prefix, start_after=after)
            start = max(start, greatest_start(found.key for found in page.objects))
            if not page.truncated:
                return start
            after = page.objects[-1].key

    async def _read(self, session: SessionId, seqs: tuple[ChainSeq, ...]) -> list[tuple[ChainSeq, Slot]]:
        results: list[tuple[ChainSeq, Slot]] = []

        async def read(seq: ChainSeq) -> None:
            found = await read_chain_object(self._store, session, seq)
            if isinstance(found, WalFooter):
                self._on_footer(found)
                results.append((seq, Slot.DATA))
            else:
                results.append((seq, Slot.MISSING if found is None else Slot.SEAL))

        await for_each(seqs, read, at_once_max=_REQUESTS_AT_ONCE_MAX)
        return results

    async def _put_seals(
        self, session: SessionId, seqs: tuple[ChainSeq, ...], by: SessionId
    ) -> list[tuple[ChainSeq, bool]]:
        results: list[tuple[ChainSeq, bool]] = []

        async def put(seq: ChainSeq) -> None:
            seal = Seal(
                session=session,
                seq=seq,
                nonce=self._rand.nonce(NONCE_BYTES),
                created_ms=self._clock.now_ms(),
                sealer_session=by,
                sealer_owner=self._owner_id,
            )
            try:
                result = await self._store.put_if_absent(chain_object_key(session, seq), encode_seal(seal))
            except Unavailable as error:
                if not error.outcome_unknown:
                    raise
                results.append((seq, False))  # the plan reads the place
            else:
                results.append((seq, result is PutResult.CREATED))

        await for_each(seqs, put, at_once_max=_REQUESTS_AT_ONCE_MAX)
        return results

    async def _tell(self, session: SessionId, end: ChainSeq) -> None:
        """Metadata may know: an aid for others, and for the session's owner should it come back."""
        try:
            await self._metadata.mark_session_sealed(session, sealed_at=end)
        except KafscaleError as error:
            log.info("session_seal_not_told", session=str(session), error=error.message)
