"""The object store of the world: one bucket in memory, and the ways that processes have to it.

Owns: what was ever stored, by whom it was deleted, a process's own faults. Does not own: the semantics
(libs/objectstore/memory.py), which faults there are (libs/objectstore/faulty.py).
Rules: 1 a request that was sent lands, also when its process is dead, or paused, by then; 2 a dead process
sends nothing; 3 what lands is in the history at that very moment.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from zlib import crc32

import trio

from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.objectstore.faulty import FaultPlan, FaultyObjectStore
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import LIST_LIMIT_MAX, Body, ListPage, ObjectInfo, ObjectStore, PutResult
from tests.sim.facts import ObjectDeleted
from tests.sim.history import History
from tests.sim.world.process import SimProcess, WorldNursery
from tests.sim.world.trace import Trace

T = TypeVar("T")
STORE = "store"


class Bucket(MemoryObjectStore):
    """Tells the history what becomes true."""

    def __init__(self, clock: Clock, history: History, trace: Trace) -> None:
        super().__init__(clock)
        self._history = history
        self._trace = trace

    def objects(self) -> dict[str, bytes]:
        """All that is there now."""
        return {key: self._objects[key].data for key in self._keys}

    def _store(self, key: str, body: Body) -> None:
        super()._store(key, body)
        self._trace.note(trio.current_time(), f"stored {key} {crc32(self._objects[key].data)}")
        self._history.stored(STORE, key, self._objects[key].data)

    async def delete_by(self, process: str, keys: Sequence[str]) -> None:
        """`delete`, and who asked for it."""
        there = [key for key in keys if key in self._objects]
        await super().delete(keys)
        for key in there:
            if key not in self._objects:
                self._trace.note(trio.current_time(), f"deleted {key} by {process}")
                self._history.add(STORE, ObjectDeleted(key=key, by=process))


class _Named:
    """The bucket as one process sees it."""

    def __init__(self, bucket: Bucket, process: str) -> None:
        self._bucket = bucket
        self._process = process
        self.put_if_absent = bucket.put_if_absent
        self.put = bucket.put
        self.get = bucket.get
        self.get_suffix = bucket.get_suffix
        self.head = bucket.head
        self.list = bucket.list

    async def delete(self, keys: Sequence[str]) -> None:
        await self._bucket.delete_by(self._process, keys)


class StorePort:
    """A process's own way to the bucket."""

    def __init__(
        self, bucket: Bucket, process: SimProcess, *, plan: FaultPlan, rand: Rand, nursery: trio.Nursery
    ) -> None:
        requests: Any = WorldNursery(nursery)
        named: ObjectStore = _Named(bucket, process.name)
        self.faulty = FaultyObjectStore(named, plan=plan, rand=rand, nursery=requests)
        self._named = named
        self._calm = plan
        self._rand = rand
        self._process = process

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        return await self._send(lambda: self.faulty.put_if_absent(key, body))

    async def put(self, key: str, body: Body) -> None:
        await self._send(lambda: self.faulty.put(key, body))

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return await self._send(lambda: self._reads().get(key, start=start, length=length), reads=True)

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        return await self._send(lambda: self._reads().get_suffix(key, length), reads=True)

    async def head(self, key: str) -> ObjectInfo:
        return await self._send(lambda: self._reads().head(key), reads=True)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        return await self._send(
            lambda: self._reads().list(prefix, start_after=start_after, limit=limit), reads=True
        )

    async def delete(self, keys: Sequence[str]) -> None:
        await self._send(lambda: self.faulty.delete(keys))

    @property
    def _is_calm(self) -> bool:
        return self.faulty.plan is self._calm and not self.faulty.is_down

    def _reads(self) -> ObjectStore:
        return self._named if self._is_calm else self.faulty

    async def _send(self, call: Callable[[], Awaitable[T]], *, reads: bool = False) -> T:
        if not self._process.alive:
            await trio.sleep_forever()
        if reads and self._is_calm:
            # A read leaves nothing behind that could arrive later: it needs no task of its own.
            await trio.sleep(self._rand.uniform(*self._calm.latency_seconds))
        return await call()
