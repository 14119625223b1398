"""The metadata store of the world, and the ways that replicas have to it.

Owns: what the store ever held of topics, partitions and assignments, a replica's faults. Does not own: the
semantics (services/metadata/kv/memory.py).
Rules: 1 a transaction that was sent may be applied although its reply is lost, and long after it was given
up, even by a replica that is dead by then; 2 a watch that breaks goes on
from the last batch that was taken; 3 a dead replica sends nothing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import trio

from libs.concurrency.rand import Rand
from libs.model.errors import KafscaleError, Reason, Unavailable
from libs.model.ids import Revision
from services.metadata import keys, stored
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import (
    Delete,
    KeyValue,
    LeaseId,
    ModRevisionIs,
    Put,
    RangeResult,
    TxnResult,
    WatchBatch,
)
from tests.sim.facts import AssignmentCommitted, StateCommitted, TopicCommitted
from tests.sim.history import History
from tests.sim.world.process import SimProcess, WorldNursery
from tests.sim.world.trace import Trace

T = TypeVar("T")
KV_STORE = "kv"


class RecordedKV(MemoryKV):
    """Tells the history what becomes true of topics, partitions and assignments."""

    def __init__(self, history: History, trace: Trace) -> None:
        super().__init__()
        self._history = history
        self._trace = trace

    def items(self, prefix: str) -> list[KeyValue]:
        """All that is there now, below a prefix."""
        found = self._state.range(prefix, start_after="", limit=1_000_000, revision=None)
        return list(found.items)

    def _write(self, ops: Sequence[Put | Delete]) -> None:
        super()._write(ops)
        now = trio.current_time()
        for op in ops:
            self._trace.note(now, f"kv {type(op).__name__} {op.key}")
            if op.key.startswith(keys.PARTITIONS):
                item = self._state.get(op.key)
                state = None if item is None else stored.partition_state(item).value
                tp = keys.topic_partition_of(op.key)
                self._history.add(KV_STORE, StateCommitted(tp=tp, state=state))
            elif op.key.startswith(keys.ASSIGNMENTS):
                item = self._state.get(op.key)
                assignment = None if item is None else stored.assignment(item).value
                tp = keys.topic_partition_of(op.key)
                self._history.add(KV_STORE, AssignmentCommitted(tp=tp, assignment=assignment))
            elif op.key.startswith(keys.TOPICS):
                item = self._state.get(op.key)
                topic = None if item is None else stored.topic(item).value
                name = op.key.removeprefix(keys.TOPICS)
                self._history.add(KV_STORE, TopicCommitted(name=name, topic=topic))


@dataclass(slots=True, kw_only=True)
class KvFaults:
    """What the way to the store does now; rates of the transactions."""

    calm_seconds: tuple[float, float] = (0.0, 0.0)
    """How long each way takes on a good day."""
    is_away: bool = False
    lost_request_rate: float = 0.0
    lost_reply_rate: float = 0.0
    late_request_rate: float = 0.0
    late_seconds: tuple[float, float] = (0.0, 0.0)
    """A request is held up on its way for so long: whoever sent it is told at once that nothing is known."""
    refused_rate: float = 0.0
    """A leader is being elected: nothing is done, and that is known."""
    delay_seconds: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """All is well."""
        self.is_away = False
        self.lost_request_rate = self.lost_reply_rate = self.late_request_rate = self.refused_rate = 0.0
        self.delay_seconds = self.calm_seconds


class KvPort:
    """A replica's own way to the store."""

    def __init__(
        self,
        kv: RecordedKV,
        process: SimProcess,
        rand: Rand,
        *,
        calm_seconds: tuple[float, float],
        nursery: trio.Nursery,
    ) -> None:
        """`nursery` outlives the process: what is on its way lands."""
        self.faults = KvFaults(calm_seconds=calm_seconds)
        self.lost = 0
        self._kv = kv
        self._process = process
        self._rand = rand
        self._sent = WorldNursery(nursery)
        self.watches: dict[trio.CancelScope, None] = {}

    def break_watches(self) -> int:
        """Every watch fails; what happened and was not taken is taken by the next one."""
        for scope in self.watches:
            scope.cancel()
        return len(self.watches)

    async def get(self, key: str) -> KeyValue | None:
        return await self._send(lambda: self._kv.get(key))

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 1000, revision: Revision | None = None
    ) -> RangeResult:
        return await self._send(
            lambda: self._kv.range(prefix, start_after=start_after, limit=limit, revision=revision)
        )

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        return await self._write(lambda: self._kv.txn(compares, ops))

    def watch(
        self, prefix: str, *, after_revision: Revision
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchBatch]]:
        inner = self._kv.watch(prefix, after_revision=after_revision)

        @asynccontextmanager
        async def open_watch() -> AsyncIterator[AsyncIterator[WatchBatch]]:
            await self._check()
            async with inner as batches:
                yield _Batches(self, batches)

        return open_watch()

    async def grant_lease(self, *, ttl_seconds: float) -> LeaseId:
        return await self._write(lambda: self._kv.grant_lease(ttl_seconds=ttl_seconds))

    async def keep_alive(self, lease_id: LeaseId) -> None:
        await self._write(lambda: self._kv.keep_alive(lease_id))

    async def revoke_lease(self, lease_id: LeaseId) -> None:
        await self._write(lambda: self._kv.revoke_lease(lease_id))

    async def compact(self, revision: Revision) -> None:
        await self._write(lambda: self._kv.compact(revision))

    async def _send(self, call: Callable[[], Awaitable[T]]) -> T:
        await self._check()
        result = await call()
        # The reply comes over the same way.
        await self._check()
        return result

    async def _write(self, call: Callable[[], Awaitable[T]]) -> T:
        await self._check()
        faults = self.faults
        if self._happens(faults.refused_rate):
            raise _away(outcome_unknown=False)
        if self._happens(faults.lost_request_rate):
            raise _away(outcome_unknown=True)
        if self._happens(faults.late_request_rate):
            self._sent.start_soon(_land_late, call, self._rand.uniform(*faults.late_seconds))
            raise _away(outcome_unknown=True)
        result = await call()
        if self.faults.is_away or self._happens(faults.lost_reply_rate):
            raise _away(outcome_unknown=True)
        return result

    def _happens(self, rate: float) -> bool:
        happens = rate > 0 and self._rand.random() < rate
        self.lost += happens
        return happens

    async def _check(self) -> None:
        if not self._process.alive:
            await trio.sleep_forever()
        if self.faults.delay_seconds[1] > 0:
            await trio.sleep(self._rand.uniform(*self.faults.delay_seconds))
        if self.faults.is_away:
            await trio.lowlevel.checkpoint()
            raise _away(outcome_unknown=False)


class _Batches:
    """A watch's batches until it is broken."""

    def __init__(self, port: KvPort, batches: AsyncIterator[WatchBatch]) -> None:
        self._port = port
        self._batches = batches

    def __aiter__(self) -> "_Batches":
        return self

    async def __anext__(self) -> WatchBatch:
        watches = self._port.watches
        with trio.CancelScope() as scope:
            watches[scope] = None
            try:
                batch = await anext(self._batches)
            finally:
                del watches[scope]
        if scope.cancelled_caught or self._port.faults.is_away:
            raise _away(outcome_unknown=False)
        return batch


async def _land_late(call: Callable[[], Awaitable[object]], seconds: float) -> None:
    await trio.sleep(seconds)
    with suppress(KafscaleError):  # nobody waits for the answer any more
        await call()


def _away(*, outcome_unknown: bool) -> Unavailable:
    return Unavailable(
        "the metadata store is away", reason=Reason.METADATA_UNAVAILABLE, outcome_unknown=outcome_unknown
    )
