"""A store that fails as real ones do: for tests and the simulation.

Owns: which faults happen and when, drawn from a seed. Does not own: the data (any store below it).
Rules: 1 the same seed and the same calls give the same faults; 2 a request that was sent goes on without its
caller: a cancelled or killed writer's put may land, a put whose caller gave up may land much later; 3 nothing
below the port is broken: what a put reports as CREATED is there.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

from libs.concurrency.rand import Rand
from libs.model.errors import KafscaleError, Reason, Unavailable
from libs.objectstore.port import LIST_LIMIT_MAX, Body, ListPage, ObjectInfo, ObjectStore, PutResult

T = TypeVar("T")
Span = tuple[float, float]
"""Between these two, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """How often each fault happens, as a rate from 0 to 1 of the operations, and how long it takes."""

    latency_seconds: Span = (0.0, 0.0)
    slow_rate: float = 0.0
    slow_seconds: Span = (1.0, 5.0)
    lost_request_rate: float = 0.0  # never reaches the store; the caller gives up after its time-out
    lost_reply_rate: float = 0.0  # reaches the store; the caller gives up after its time-out
    late_put_rate: float = 0.0  # the caller gives up, and the put lands later still
    late_put_seconds: Span = (1.0, 60.0)
    doubled_rate: float = 0.0  # a put or delete arrives, and once more after late_put_seconds
    timeout_seconds: float = 10.0
    burst_rate: float = 0.0  # an operation begins a burst of 503s
    burst_seconds: Span = (0.1, 3.0)


@dataclass(slots=True, kw_only=True)
class FaultCounts:
    """How often each fault has happened."""

    slow: int = 0
    lost_requests: int = 0
    lost_replies: int = 0
    late_puts: int = 0
    doubled: int = 0
    refused: int = 0


class FaultyObjectStore:
    """Any store, behind an unreliable network. Requests on their way live in `nursery`."""

    def __init__(self, store: ObjectStore, *, plan: FaultPlan, rand: Rand, nursery: trio.Nursery) -> None:
        self.plan = plan
        self.is_down = False
        self.counts = FaultCounts()
        self._store = store
        self._rand = rand
        self._nursery = nursery
        self._burst_until = -1.0

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        return await self._send(lambda: self._store.put_if_absent(key, body), writes=True, is_put=True)

    async def put(self, key: str, body: Body) -> None:
        await self._send(lambda: self._store.put(key, body), writes=True, is_put=True)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return await self._send(lambda: self._store.get(key, start=start, length=length))

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        return await self._send(lambda: self._store.get_suffix(key, length))

    async def head(self, key: str) -> ObjectInfo:
        return await self._send(lambda: self._store.head(key))

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        return await self._send(lambda: self._store.list(prefix, start_after=start_after, limit=limit))

    async def delete(self, keys: Sequence[str]) -> None:
        await self._send(lambda: self._store.delete(keys), writes=True)

    async def _send(
        self, call: Callable[[], Awaitable[T]], *, writes: bool = False, is_put: bool = False
    ) -> T:
        await trio.lowlevel.checkpoint()
        plan = self.plan
        self._refuse_if_busy(plan)
        delay_seconds = self._rand.uniform(*plan.latency_seconds)
        if self._happens(plan.slow_rate):
            self.counts.slow += 1
            delay_seconds += self._rand.uniform(*plan.slow_seconds)
        if self._happens(plan.lost_request_rate):
            self.counts.lost_requests += 1
            raise await self._timed_out(plan, outcome_unknown=writes)
        if is_put and self._happens(plan.late_put_rate):
            self.counts.late_puts += 1
            delay_seconds += plan.timeout_seconds + self._rand.uniform(*plan.late_put_seconds)
            self._nursery.start_soon(_Request(call).travel, delay_seconds)
            raise await self._timed_out(plan, outcome_unknown=True)
        request = _Request(call)
        self._nursery.start_soon(request.travel, delay_seconds)
        if writes and self._happens(plan.doubled_rate):
            self.counts.doubled += 1
            again_seconds = delay_seconds + self._rand.uniform(*plan.late_put_seconds)
            self._nursery.start_soon(_Request(call).travel, again_seconds)
        if self._happens(plan.lost_reply_rate):
            self.counts.lost_replies += 1
            raise await self._timed_out(plan, outcome_unknown=writes)
        with trio.move_on_after(plan.timeout_seconds):
            return await request.reply()
        raise _no_answer(outcome_unknown=writes)

    def _refuse_if_busy(self, plan: FaultPlan) -> None:
        if self._happens(plan.burst_rate):
            self._burst_until = trio.current_time() + self._rand.uniform(*plan.burst_seconds)
        if self.is_down or trio.current_time() < self._burst_until:
            self.counts.refused += 1
            raise Unavailable("the object store says 503 SlowDown")

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self._rand.random() < rate

    async def _timed_out(self, plan: FaultPlan, *, outcome_unknown: bool) -> Unavailable:
        await trio.sleep(plan.timeout_seconds)
        return _no_answer(outcome_unknown=outcome_unknown)


class _Request(Generic[T]):
    """One operation on its way, which arrives whether or not anyone waits for the reply."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._done = trio.Event()
        self._error: KafscaleError | None = None
        self._results: list[T] = []

    async def travel(self, delay_seconds: float) -> None:
        await trio.sleep(delay_seconds)
        try:
            self._results.append(await self._call())
        except KafscaleError as error:
            self._error = error
        self._done.set()

    async def reply(self) -> T:
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._results[0]


def _no_answer(*, outcome_unknown: bool) -> Unavailable:
    return Unavailable(
        "no answer from the object store", reason=Reason.TIMED_OUT, outcome_unknown=outcome_unknown
    )
