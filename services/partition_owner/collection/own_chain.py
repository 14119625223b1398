"""Frees the own live chain: moves its start to the least object that anybody still needs.

Owns: when it is looked at, and the wait before what is free goes. Does not own: what is needed (decide.py),
marker and deletes (chains.py).
Rules: 1 only this session moves its start, never past `durable` (design section 3, rule 8); 2 facts of the
own memory are read before the references (decide.py says why); 3 a start is moved only some time after it was
found to be free: that helps those who read by an older list, and nothing rests on it, because what is free
stays free; 4 with nothing to free nobody is asked, and when nothing moves it asks ever more seldom.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
import trio

from libs.model.ids import ChainSeq, SessionId
from services.partition_owner.collection.chains import ChainStarts
from services.partition_owner.collection.decide import OwnFacts, own_start, settled
from services.partition_owner.collection.openings import Openings
from services.partition_owner.collection.source import ReferenceSource
from services.partition_owner.flusher import Flusher
from services.partition_owner.registry import Registry

PARTITIONS_AT_ONCE_MAX = 1000
_FIRST = ChainSeq(0)

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Chain:
    """What is known of one session's chain."""

    session: SessionId
    start: ChainSeq = _FIRST
    free: ChainSeq = _FIRST
    """Where it may start, and since when that is known."""
    free_since: float = 0.0
    commits: int = 0


class OwnChain:
    """`round` does what there is to do now; the caller says when."""

    def __init__(
        self,
        *,
        registry: Registry,
        openings: Callable[[], Openings | None],
        references: ReferenceSource,
        starts: ChainStarts,
        delay_seconds: float,
    ) -> None:
        self._registry = registry
        self._openings = openings
        self._references = references
        self._starts = starts
        self._delay_seconds = delay_seconds
        self._chain: _Chain | None = None

    async def round(self) -> bool:
        """Whether anything moved, or may soon: then it is worth asking again before long. Raises Unavailable,
        Fenced where the metadata store is not the one that it was.
        """
        flusher, openings = self._registry.flusher, self._openings()
        if flusher is None or openings is None:
            return True
        if self._chain is None or self._chain.session != flusher.session:
            self._chain = _Chain(session=flusher.session)
        chain = self._chain
        if flusher.statistics().durable_seq <= chain.start:
            return False
        moved = await self._move(chain)
        commits = sum(partition.log.version for partition in self._registry)
        committed, chain.commits = commits != chain.commits, commits
        await self._look(chain, flusher, openings)
        return moved or committed or chain.free > chain.start or bool(openings.pending())

    async def _move(self, chain: _Chain) -> bool:
        """Moves the start to what has been free for long enough."""
        if chain.free <= chain.start or trio.current_time() < chain.free_since + self._delay_seconds:
            return False
        before = chain.start
        chain.start = max(chain.free, await self._starts.move(chain.session, chain.free))
        log.info("chain_start_moved", session=str(chain.session), before=before, start=chain.start)
        return True

    async def _look(self, chain: _Chain, flusher: Flusher, openings: Openings) -> None:
        """Finds what is free; an earlier finding that waits stays as it is."""
        facts = OwnFacts(
            session=chain.session,
            durable_seq=ChainSeq(flusher.statistics().durable_seq),
            openings=openings.pending(),
            least_read_seq=min(self._read_seqs(chain.session), default=None),
        )
        asked = list(facts.openings)[:PARTITIONS_AT_ONCE_MAX]
        found = await self._references.get(sessions=[chain.session], partitions=[tp for tp, _ in asked])
        done = settled(chain.session, asked, found.partitions)
        openings.settle(done)
        start = own_start(facts.without(done), found.sessions.get(chain.session))
        if start is not None and start > chain.start >= chain.free:
            chain.free, chain.free_since = start, trio.current_time()

    def _read_seqs(self, session: SessionId) -> Iterator[ChainSeq]:
        for partition in self._registry:
            seq = partition.log.least_seq_of(session)
            if seq is not None:
                yield seq
