"""Tells a recorder about every operation: how it ended, how long it took, how many bytes it moved.

Owns: the measuring. Does not own: metrics (whoever makes the recorder).
Rules: 1 one observation for each attempt, also for a failed or cancelled one; 2 the names are few and fixed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import trio

from libs.model.errors import KafscaleError
from libs.objectstore.body import body_size
from libs.objectstore.port import LIST_LIMIT_MAX, Body, ListPage, ObjectInfo, ObjectStore, PutResult


class Recorder(Protocol):
    """Is told of each operation when it has ended; must be quick and not raise."""

    def observe(self, operation: str, outcome: str, seconds: float, size_bytes: int) -> None:
        """`operation`: put_if_absent, put, get, get_suffix, head, list, delete.

        `outcome`: ok, exists, cancelled, or the error's kind in lower case (unavailable, notfound, invalid,
        ...), with `unavailable_unknown` for an Unavailable whose outcome is unknown. `size_bytes` is what a
        put tried to send or a get received.
        """
        ...


class _Observation:
    def __init__(self, size_bytes: int) -> None:
        self.outcome = "ok"
        self.size_bytes = size_bytes


class InstrumentedObjectStore:
    """Any store, observed."""

    def __init__(self, store: ObjectStore, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        with self._observed("put_if_absent", body_size(body)) as seen:
            result = await self._store.put_if_absent(key, body)
            seen.outcome = "exists" if result is PutResult.EXISTS else "ok"
            return result

    async def put(self, key: str, body: Body) -> None:
        with self._observed("put", body_size(body)):
            await self._store.put(key, body)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        with self._observed("get") as seen:
            data = await self._store.get(key, start=start, length=length)
            seen.size_bytes = len(data)
            return data

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        with self._observed("get_suffix") as seen:
            data, size_bytes = await self._store.get_suffix(key, length)
            seen.size_bytes = len(data)
            return data, size_bytes

    async def head(self, key: str) -> ObjectInfo:
        with self._observed("head"):
            return await self._store.head(key)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        with self._observed("list"):
            return await self._store.list(prefix, start_after=start_after, limit=limit)

    async def delete(self, keys: Sequence[str]) -> None:
        with self._observed("delete"):
            await self._store.delete(keys)

    @contextmanager
    def _observed(self, operation: str, size_bytes: int = 0) -> Iterator[_Observation]:
        seen = _Observation(size_bytes)
        started = trio.current_time()
        try:
            yield seen
        except KafscaleError as error:
            unknown = getattr(error, "outcome_unknown", False)
            seen.outcome = type(error).__name__.lower() + ("_unknown" if unknown else "")
            raise
        except trio.Cancelled:
            seen.outcome = "cancelled"
            raise
        except BaseException:
            seen.outcome = "error"
            raise
        finally:
            self._recorder.observe(operation, seen.outcome, trio.current_time() - started, seen.size_bytes)
