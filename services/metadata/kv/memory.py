"""The store in memory: the reference model that the contract suite holds the others to.

Owns: leases by Trio's clock, watches over the bounded history. Does not own: the semantics (state.py).
Rules: 1 nothing runs in the background: leases that are over are found by whoever comes next, and a watcher
wakes for the next lease's end; 2 several replicas may share one instance, as they would share an etcd.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import trio

from libs.model.errors import NotFound
from libs.model.ids import Revision
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
from services.metadata.kv.state import HISTORY_REVISIONS_MAX, KeyState, check_txn, matching

PROGRESS_SECONDS = 5.0


class MemoryKV:
    """A KV of one process's life."""

    def __init__(self, *, history_revisions_max: int = HISTORY_REVISIONS_MAX) -> None:
        self._state = KeyState(history_revisions_max=history_revisions_max)
        self._ttl_seconds: dict[LeaseId, float] = {}
        self._ends_at: dict[LeaseId, float] = {}
        self._next_lease = 1
        self._changed = trio.Event()

    @property
    def revision(self) -> Revision:
        """The store's revision; for tests that assert silence."""
        return self._state.revision

    async def get(self, key: str) -> KeyValue | None:
        await trio.lowlevel.checkpoint()
        self._expire()
        return self._state.get(key)

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 1000, revision: Revision | None = None
    ) -> RangeResult:
        await trio.lowlevel.checkpoint()
        self._expire()
        return self._state.range(prefix, start_after=start_after, limit=limit, revision=revision)

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        check_txn(compares, ops)
        await trio.lowlevel.checkpoint()
        self._expire()
        if not self._state.holds(compares):
            return TxnResult(succeeded=False, revision=self._state.revision)
        self._write(ops)
        return TxnResult(succeeded=True, revision=self._state.revision)

    def watch(
        self, prefix: str, *, after_revision: Revision
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchBatch]]:
        @asynccontextmanager
        async def open_watch() -> AsyncIterator[AsyncIterator[WatchBatch]]:
            async with aclosing(self._batches(prefix, after_revision)) as batches:
                yield batches

        return open_watch()

    async def grant_lease(self, *, ttl_seconds: float) -> LeaseId:
        await trio.lowlevel.checkpoint()
        lease_id = LeaseId(self._next_lease)
        self._next_lease += 1
        self._state.grant(lease_id)
        self._ttl_seconds[lease_id] = ttl_seconds
        self._ends_at[lease_id] = trio.current_time() + ttl_seconds
        self._wake()
        return lease_id

    async def keep_alive(self, lease_id: LeaseId) -> None:
        await trio.lowlevel.checkpoint()
        self._expire()
        if lease_id not in self._ends_at:
            raise NotFound(f"lease {lease_id} is over: register again")
        self._ends_at[lease_id] = trio.current_time() + self._ttl_seconds[lease_id]

    async def revoke_lease(self, lease_id: LeaseId) -> None:
        await trio.lowlevel.checkpoint()
        self._expire()
        if lease_id in self._ends_at:
            self._end(lease_id)

    async def compact(self, revision: Revision) -> None:
        await trio.lowlevel.checkpoint()
        self._expire()
        self._state.compact(revision)
        self._wake()

    def _write(self, ops: Sequence[Put | Delete]) -> None:
        events = self._state.plan(ops)
        if events:
            self._state.apply(events)
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _end(self, lease_id: LeaseId) -> None:
        self._write([Delete(key=key) for key in self._state.keys_of(lease_id)])
        self._state.drop_lease(lease_id)
        del self._ends_at[lease_id], self._ttl_seconds[lease_id]

    def _expire(self) -> None:
        now = trio.current_time()
        for lease_id in [lease_id for lease_id, end in self._ends_at.items() if end <= now]:
            self._end(lease_id)

    async def _batches(self, prefix: str, after_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        position = after_revision
        yield WatchBatch(revision=position, events=())
        progress_at = trio.current_time() + PROGRESS_SECONDS
        while True:
            await trio.lowlevel.checkpoint()
            self._expire()
            if batches := self._state.changes_after(position):
                for batch in batches:
                    position = batch.revision
                    if seen := matching(batch, prefix):
                        yield seen
                continue
            if trio.current_time() >= progress_at:
                progress_at = trio.current_time() + PROGRESS_SECONDS
                yield WatchBatch(revision=max(position, self._state.revision), events=())
                continue
            changed = self._changed
            with trio.move_on_at(min([progress_at, *self._ends_at.values()])):
                await changed.wait()
