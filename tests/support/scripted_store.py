"""An object store whose puts wait for the test's word: for tests of what happens while a PUT is on its way.

Owns: the queue of puts. Does not own: the data (a memory store below).
"""

from collections.abc import Sequence

import trio

from libs.concurrency.clock import ManualClock
from libs.model.errors import KafscaleError, Unavailable
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import Body, ListPage, ObjectInfo, PutResult


class ScriptedPut:
    """One put that waits for `land`, `fail` or `lose`."""

    def __init__(self, key: str, body: Body) -> None:
        self.key = key
        self.body = body
        self.decided = trio.Event()
        self.error: KafscaleError | None = None
        self.reaches = True

    def land(self) -> None:
        """It reaches the store and is answered."""
        self.decided.set()

    def fail(self, error: KafscaleError, *, reaches: bool = False) -> None:
        """The caller gets `error`; the put `reaches` the store or doesn't."""
        self.error = error
        self.reaches = reaches
        self.decided.set()

    def lose_reply(self, *, reaches: bool) -> None:
        self.fail(Unavailable("no answer", outcome_unknown=True), reaches=reaches)


class ScriptedStore:
    """Puts of .wal objects wait while `holding`; everything else goes straight through."""

    def __init__(self) -> None:
        self.memory = MemoryObjectStore(ManualClock())
        self.holding = True
        self.says_exists = False
        """Held puts are told that their key is taken, whatever is there."""
        self.puts: list[ScriptedPut] = []
        """Every put that was held, in the order of arrival."""
        self.reads: list[str] = []
        self._changed = trio.Event()

    async def wait_puts(self, count: int) -> list[ScriptedPut]:
        """The held puts so far, once there are `count`."""
        with trio.fail_after(60):
            while len(self.puts) < count:
                await self._changed.wait()
        return self.puts

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        if not self.holding or not key.endswith(".wal"):
            return await self.memory.put_if_absent(key, body)
        put = ScriptedPut(key, body)
        self.puts.append(put)
        self._changed.set()
        self._changed = trio.Event()
        await put.decided.wait()
        if self.says_exists:
            return PutResult.EXISTS
        result = await self.memory.put_if_absent(key, body) if put.reaches else PutResult.CREATED
        if put.error is not None:
            raise put.error
        return result

    async def put(self, key: str, body: Body) -> None:
        await self.memory.put(key, body)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self.reads.append(key)
        return await self.memory.get(key, start=start, length=length)

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        self.reads.append(key)
        return await self.memory.get_suffix(key, length)

    async def head(self, key: str) -> ObjectInfo:
        return await self.memory.head(key)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 1000) -> ListPage:
        return await self.memory.list(prefix, start_after=start_after, limit=limit)

    async def delete(self, keys: Sequence[str]) -> None:
        await self.memory.delete(keys)
