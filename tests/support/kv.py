"""A metadata store in memory that can be away, lose replies, and refuse.

Owns: faults on demand. Does not own: the store.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from libs.model.errors import KafscaleError, Reason, Unavailable
from libs.model.ids import Revision
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


class FaultyKV(MemoryKV):
    """A store with faults.

    `down`: nothing answers; `lost_replies`: so many transactions happen and are not told; `lost_requests`: so
    many do not happen, and it is not known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.lost_replies = 0
        self.lost_requests = 0
        self._breaking = trio.Event()

    def break_watches(self) -> None:
        """Every watch that is open fails at its next turn."""
        self._breaking.set()
        self._breaking = trio.Event()

    def _check(self) -> None:
        if self.down:
            raise Unavailable("the store is away", reason=Reason.METADATA_UNAVAILABLE)

    async def get(self, key: str) -> KeyValue | None:
        self._check()
        return await super().get(key)

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 1000, revision: Revision | None = None
    ) -> RangeResult:
        self._check()
        return await super().range(prefix, start_after=start_after, limit=limit, revision=revision)

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        self._check()
        if self.lost_requests:
            self.lost_requests -= 1
            raise Unavailable("the request may be lost", outcome_unknown=True)
        result = await super().txn(compares, ops)
        if self.lost_replies:
            self.lost_replies -= 1
            raise Unavailable("the reply is lost", outcome_unknown=True)
        return result

    async def grant_lease(self, *, ttl_seconds: float) -> LeaseId:
        self._check()
        return await super().grant_lease(ttl_seconds=ttl_seconds)

    async def keep_alive(self, lease_id: LeaseId) -> None:
        self._check()
        await super().keep_alive(lease_id)

    async def revoke_lease(self, lease_id: LeaseId) -> None:
        self._check()
        await super().revoke_lease(lease_id)

    def watch(
        self, prefix: str, *, after_revision: Revision
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchBatch]]:
        inner = super().watch(prefix, after_revision=after_revision)

        @asynccontextmanager
        async def open_watch() -> AsyncIterator[AsyncIterator[WatchBatch]]:
            self._check()
            async with inner as batches:
                yield _Breakable(batches, self._breaking)

        return open_watch()


class _Breakable:
    def __init__(self, batches: AsyncIterator[WatchBatch], breaking: trio.Event) -> None:
        self._batches = batches
        self._breaking = breaking

    def __aiter__(self) -> "_Breakable":
        return self

    async def __anext__(self) -> WatchBatch:
        found: list[WatchBatch] = []
        failed: list[Exception] = []
        async with trio.open_nursery() as nursery:

            async def next_batch() -> None:
                try:
                    found.append(await anext(self._batches))
                except KafscaleError as error:
                    failed.append(error)
                nursery.cancel_scope.cancel()

            nursery.start_soon(next_batch)
            await self._breaking.wait()
            nursery.cancel_scope.cancel()
        if failed:
            raise failed[0]
        if not found:
            raise Unavailable("the watch broke", reason=Reason.METADATA_UNAVAILABLE)
        return found[0]
