"""What an opening comes to, as production decides it; each attempt is worked out once.

Owns: `Opener.open` on a world that stands still. Does not own: what happens meanwhile (owners.py), what the
metadata service makes of the transaction (transactions.py).
Rules: 1 production runs until it has to wait for the world, or wants it changed: that is the outcome; 2 every
attempt begins with a read, so nothing is kept of one that was given up.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, NoReturn, cast

import trio
from structlog.testing import capture_logs

from libs.clients.metadata import MetadataClient, PartitionRecord
from libs.clients.view import ClusterView
from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import PartitionState, Topic
from libs.model.ids import ChainSeq, LeaderEpoch, Revision, SessionId, TopicId, TopicPartition
from libs.objectstore.memory import MemoryObjectStore
from libs.segments.chain import Ended
from libs.segments.index import IndexedRange
from services.partition_owner.collection.openings import Openings
from services.partition_owner.flusher import Flusher
from services.partition_owner.footers import FooterReader
from services.partition_owner.opening import Opener
from services.partition_owner.sealing import Sealer
from services.partition_owner.topic_objects import TopicObjects
from tests.model.partition import values
from tests.model.partition.decisions import Chains, no_producers, ranges
from tests.model.partition.values import TOPIC, TP
from tests.model.partition.world import Assigned, State

_REVISION = Revision(7)


class Gone(NamedTuple):
    """The partition is not this session's under that epoch any more."""


class Waits(NamedTuple):
    """For what the session has in flight."""


class Damaged(NamedTuple):
    """What is stored does not fit together: nobody opens it."""


class Seals(NamedTuple):
    """The session's chain has to end first."""

    session: int


class Sends(NamedTuple):
    """A transaction that opens the partition with that state. `opened_at`: its next offset then."""

    state: State
    first_seq: int
    opened_at: int


class Opens(NamedTuple):
    """An earlier transaction is found in the state."""

    first_seq: int
    opened_at: int


Attempt = Gone | Waits | Damaged | Seals | Sends | Opens


class Own(NamedTuple):
    """What the opening session knows of itself."""

    session: int
    epoch: int
    next_seq: int
    durable: int


@dataclass(slots=True)
class _Stage:
    """Production's other sides: they answer, or end the attempt with what it came to."""

    own: Own
    assigned: Assigned
    state: State | None
    chains: Chains
    sealed: int
    scope: trio.CancelScope
    outcome: Attempt | None = None
    attempts: int = 0
    sent: State | None = None

    async def end(self, outcome: Attempt) -> NoReturn:
        self.outcome = outcome
        self.scope.cancel()
        await trio.sleep_forever()
        raise AssertionError

    def new_scope(self) -> trio.CancelScope:
        """The second is of the pause after an error."""
        scope = trio.CancelScope()
        self.attempts += 1
        if self.attempts > 1:
            scope.cancel()
        return scope

    # The flusher

    @property
    def session(self) -> SessionId:
        return values.session_id(self.own.session)

    @property
    def next_seq(self) -> ChainSeq:
        return ChainSeq(self.own.next_seq)

    async def wait_durable(self, seq: int) -> None:
        if seq >= self.own.durable:
            await self.end(Waits())

    # The metadata client

    async def get_partition(self, at: TopicPartition) -> PartitionRecord:
        return PartitionRecord(
            assignment=values.assignment(self.assigned),
            assignment_revision=_REVISION,
            state=None if self.state is None else values.partition_state(self.state),
            state_revision=Revision(0) if self.state is None else _REVISION,
        )

    async def open_partition(
        self, at: TopicPartition, read: PartitionRecord, state: PartitionState
    ) -> PartitionRecord:
        self.sent = values.state(state)
        return await self.get_partition(at)  # as if it landed: the opened partition tells the rest

    @property
    def topics(self) -> dict[TopicId, Topic]:
        return {TOPIC.topic_id: TOPIC}

    # The sealer

    async def tail_begin(self, session: SessionId) -> ChainSeq | None:
        return None

    async def seal(self, session: SessionId, *, by: SessionId) -> Ended:
        index = values.session_index(session)
        if not self.sealed >> index & 1:
            await self.end(Seals(index))
        return Ended(start=ChainSeq(0), end=ChainSeq(len(self.chains[index])))

    # Footers and topic objects

    async def read_ahead(self, session: SessionId, from_seq: int, to_seq: int) -> None:
        pass

    async def ranges(
        self, tp: TopicPartition, session: SessionId, from_seq: int, to_seq: int, *, chain_went_on: bool
    ) -> list[IndexedRange]:
        return ranges(values.session_index(session), self.chains, from_seq, to_seq)

    async def ensure_exists(self, topic: object) -> None:
        pass


@cache
def attempt(own: Own, assigned: Assigned, state: State | None, chains: Chains, sealed: int) -> Attempt:
    """What an opening by that session comes to now. `sealed`: whose chains have ended, as bits."""

    async def run() -> Attempt:
        with trio.CancelScope() as scope:
            stage = _Stage(own, assigned, state, chains, sealed, scope)
            partition = await _opener(stage).open(
                TP, LeaderEpoch(own.epoch), new_scope=stage.new_scope, places=trio.Semaphore(1)
            )
            if partition is None:
                return Gone() if stage.attempts == 1 else Damaged()
            first_seq, opened_at = partition.first_seq, partition.log.assigned
            if stage.sent is None:
                return Opens(first_seq, opened_at)
            return Sends(stage.sent, first_seq, opened_at)
        assert stage.outcome is not None
        return stage.outcome

    with capture_logs():
        return trio.run(run)


def _opener(stage: _Stage) -> Opener:
    flusher = cast(Flusher, stage)
    return Opener(
        flusher=flusher,
        store=MemoryObjectStore(ManualClock(0)),
        metadata=cast(MetadataClient, stage),
        view=cast(ClusterView, stage),
        sealer=cast(Sealer, stage),
        footers=cast(FooterReader, stage),
        new_producers=no_producers,
        topics=cast(TopicObjects, stage),
        openings=Openings(lambda: flusher.next_seq),
        rand=SeededRand(0),
    )
