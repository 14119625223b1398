"""The write side of one session: what waits becomes chain objects, and what is durable is acknowledged.

Owns: the queue, the moment of each flush, acknowledgements, the end of the session as the store decides it.
Does not own: registration (session.py), which partitions there are (assignments.py).
Rules (design section 3): 1 acknowledgements and readers follow `durable`, in order (rule 4); 2 when the
session is over, everything that was not acknowledged has an unknown outcome, also what had no offsets yet:
a later batch must not overtake an earlier one whose fate is open; 3 a fence waits for an object begun after
it (rule 13).
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
import trio

from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.concurrency.watermark import Watermark
from libs.model.errors import Fenced, KafscaleError, Moved, Reason, Unavailable
from libs.model.ids import ChainSeq, OwnerId, SessionId, TopicPartition
from libs.objectstore.port import ObjectStore
from libs.segments.layout import NONCE_BYTES
from libs.segments.seal import Seal, encode_seal
from libs.telemetry.spans import span
from services.partition_owner.assembler import assemble
from services.partition_owner.chain import Chain, ChainObject
from services.partition_owner.chain_writer import ChainWriter
from services.partition_owner.flush_policy import FlushPolicy
from services.partition_owner.partition import Partition
from services.partition_owner.recorder import Recorder
from services.partition_owner.tail_cache import TailCache
from services.partition_owner.waiting import PendingAppend, WaitingAppends
from services.partition_owner.wake import Wake

_NO_SERIAL = -1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlusherStatistics:
    waiting: int
    waiting_bytes: int
    in_flight: int
    in_flight_max: int
    next_seq: int
    durable_seq: int
    put_retries: int


class Flusher:
    """Takes appends of one session; `run` until the session is over."""

    def __init__(
        self,
        *,
        session: SessionId,
        owner_id: OwnerId,
        store: ObjectStore,
        policy: FlushPolicy,
        tail: TailCache,
        clock: Clock,
        rand: Rand,
        recorder: Recorder,
    ) -> None:
        self.session = session
        self._owner_id = owner_id
        self._limits = policy.limits
        self._policy = policy
        self._tail = tail
        self._clock = clock
        self._rand = rand
        self._recorder = recorder
        self._writer = ChainWriter(store=store, session=session, rand=rand)
        self._chain = Chain()
        self._waiting = WaitingAppends()
        self._wake = Wake()
        self._durable_seq = Watermark()
        self._taken = Watermark()
        self._fence_seq = -1
        self._flush_below = _NO_SERIAL
        self._sealed = False
        self.over = trio.Event()
        self.over_because: KafscaleError | None = None

    # What the rest of the service calls.

    def accept(self, append: PendingAppend) -> None:
        """Queues an append of an open partition; its sink hears of the outcome once it is known."""
        if self.over_because is not None or self._sealed:
            append.sink.failed(append, self._unknown_outcome())
            return
        if not self._waiting:
            self._wake.set()
        self._waiting.add(append, trio.current_time())
        if self._waiting.waiting_bytes >= self._limits.object_bytes_target:
            self._wake.set()

    def refuse(self, partition: Partition, error: Callable[[], Moved]) -> None:
        """Refuses what waits for a partition: it has no offsets, nothing was done (rule 11)."""
        for append in self._waiting.take_of(partition):
            append.sink.failed(append, error())
        self._taken.advance(self._waiting.taken_below)

    @property
    def next_seq(self) -> ChainSeq:
        """The seq of the next object: whatever is appended from now on is in it or after it."""
        return self._chain.next_seq

    @property
    def durable_seq(self) -> ChainSeq:
        """Every object of the chain below it is durable."""
        return self._chain.durable_seq

    @property
    def oldest_put_at(self) -> float | None:
        """When the oldest PUT in flight began, on Trio's clock."""
        return self._chain.oldest_begun_at

    async def wait_durable(self, seq: int) -> None:
        """Returns once all objects up to `seq` are durable. Raises Unavailable when the session is over."""
        await self._durable_seq.wait_at_least(seq + 1)

    async def fence(self) -> None:
        """Rule 13: returns after a chain PUT that began after this call; callers share it.

        Raises Unavailable when the session is over: then this owner's view of its partitions is old.
        """
        if self._sealed:
            raise self._unknown_outcome()
        seq = self._chain.next_seq
        self._fence_seq = seq
        self._wake.set()
        await self.wait_durable(seq)

    async def flush(self) -> None:
        """Returns once all that was accepted is durable. Raises Unavailable when the session is over."""
        below = self._waiting.next_serial
        self._flush_below = max(self._flush_below, below)
        self._wake.set()
        await self._taken.wait_at_least(below)
        await self.wait_durable(self._chain.next_seq - 1)

    async def seal(self) -> ChainSeq | None:
        """Ends the own chain, once all of it is durable; None where somebody else took the place.

        No append may be accepted any more. Raises Unavailable when the session is over.
        """
        await self.flush()
        self._sealed = True
        await self.wait_durable(self._chain.next_seq - 1)  # a fence may have begun an object meanwhile
        seal = Seal(
            session=self.session,
            seq=self._chain.next_seq,
            nonce=self._rand.nonce(NONCE_BYTES),
            created_ms=self._clock.now_ms(),
            sealer_session=self.session,
            sealer_owner=self._owner_id,
        )
        mine = await self._writer.write_seal(seal, encode_seal(seal))
        return seal.seq if mine else None

    def buffered(self) -> set[TopicPartition]:
        """Partitions with something that is not durable yet."""
        return self._waiting.partitions() | self._chain.partitions()

    def statistics(self) -> FlusherStatistics:
        return FlusherStatistics(
            waiting=len(self._waiting),
            waiting_bytes=self._waiting.waiting_bytes,
            in_flight=self._chain.in_flight,
            in_flight_max=self._limits.in_flight_max,
            next_seq=self._chain.next_seq,
            durable_seq=self._chain.durable_seq,
            put_retries=self._writer.retries,
        )

    # The task.

    async def run(self) -> None:
        """Flushes until the session is over; then every waiter has been answered. Cancelled: the same."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._flush_when_due, nursery)
                await self.over.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.end(Fenced("this owner stopped", reason=Reason.SESSION_OVER))

    def end(self, because: KafscaleError) -> None:
        """The session is over: nobody knows what became of what was not acknowledged."""
        if self.over_because is not None:
            return
        self.over_because = because
        self._durable_seq.close(self._unknown_outcome)
        self._taken.close(self._unknown_outcome)
        for lost in self._chain.abandon():
            for ack in lost.acks:
                ack.append.sink.failed(ack.append, self._unknown_outcome())
        for append in self._waiting.take(1 << 62):
            append.sink.failed(append, self._unknown_outcome())
        self.over.set()

    async def _flush_when_due(self, nursery: trio.Nursery) -> None:
        while not self._sealed:
            now = trio.current_time()
            due = self._policy.flush_at(
                now,
                waiting_since=self._waiting.since,
                waiting_bytes=self._waiting.waiting_bytes,
                in_flight=self._chain.in_flight,
                urgent=self._fence_seq >= self._chain.next_seq
                or self._waiting.taken_below < self._flush_below,
            )
            if due <= now:
                self._flush(nursery, now)
                await trio.lowlevel.checkpoint()
            else:
                await self._wake.wait_until(due)

    def _flush(self, nursery: trio.Nursery, now: float) -> None:
        with span("owner.assemble"):
            seq = self._chain.next_seq
            nonce = self._rand.nonce(NONCE_BYTES)
            assembly = assemble(
                self._waiting.take(self._limits.object_bytes_target),
                session=self.session,
                seq=seq,
                nonce=nonce,
                created_ms=self._clock.now_ms(),
                now=now,
                even_if_empty=self._fence_seq >= seq,
            )
        if assembly.earlier:
            self._chain.attach(assembly.earlier)
        if assembly.footer is not None:
            started = ChainObject(
                seq=seq,
                body=assembly.body,
                footer=assembly.footer,
                ends=assembly.ends,
                acks=assembly.acks,
                begun_at=now,
            )
            self._chain.begin(started)
            for partition, end in assembly.ends:
                partition.log.begin_flight(end)
            self._tail.put(self.session, seq, assembly.body)
            self._policy.flushed(now)
            nursery.start_soon(self._put, started, nonce, nursery)
        self._taken.advance(self._waiting.taken_below)

    async def _put(self, started: ChainObject, nonce: bytes, nursery: trio.Nursery) -> None:
        log.debug("chain_put_begun", session=self.session, seq=started.seq)
        try:
            with span("owner.put"):
                await self._writer.write(started.seq, started.body, nonce)
        except Fenced as error:
            log.warning("session_over", session=str(self.session), seq=started.seq, error=error.message)
            self.end(error)
            return
        log.debug("chain_put_ended", session=self.session, seq=started.seq)
        now = trio.current_time()
        self._recorder.object_written(len(started.body), now - started.begun_at)
        self._policy.finished(now, now - started.begun_at)
        for durable in self._chain.succeeded(started):
            self._acknowledge(durable)
        index = self._chain.take_index()
        if index is not None:
            nursery.start_soon(self._writer.write_index, index)
        self._wake.set()

    def _acknowledge(self, durable: ChainObject) -> None:
        with span("owner.acknowledge"):
            for partition, end in durable.ends:
                partition.became_durable(end)
            for ack in durable.acks:
                ack.append.sink.appended(ack.append, ack.base_offset)
        self._durable_seq.advance(durable.seq + 1)

    def _unknown_outcome(self) -> Unavailable:
        why = "" if self.over_because is None else f": {self.over_because.message}"
        return Unavailable(
            f"the owner's session is over{why}", reason=Reason.SESSION_OVER, outcome_unknown=True
        )
