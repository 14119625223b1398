"""The object store as a dict: the reference model for tests and simulation.

Owns: the plainest possible meaning of the port. Does not own: latency and faults (`faulty.py`).
Rules: 1 every operation is one step of the loop: it happens wholly, at once, then checkpoints.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import trio

from libs.concurrency.clock import Clock
from libs.objectstore.body import buffers_of
from libs.objectstore.keyrules import check_key, check_limit, check_range, no_such_object
from libs.objectstore.port import LIST_LIMIT_MAX, Body, ListPage, ObjectInfo, PutResult


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    data: bytes
    modified_ms: int


class MemoryObjectStore:
    """Lives as long as it is referenced; several simulated processes may share one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._objects: dict[str, _Stored] = {}
        self._keys: list[str] = []  # sorted: the order of str is the order of the UTF-8 bytes

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        check_key(key)
        await trio.lowlevel.checkpoint()
        if key in self._objects:
            return PutResult.EXISTS
        self._store(key, body)
        return PutResult.CREATED

    async def put(self, key: str, body: Body) -> None:
        check_key(key)
        await trio.lowlevel.checkpoint()
        self._store(key, body)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        check_range(start, length)
        await trio.lowlevel.checkpoint()
        data = self._find(key).data
        return data[start:] if length is None else data[start : start + length]

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        check_range(0, length)
        await trio.lowlevel.checkpoint()
        data = self._find(key).data
        return data[-length:], len(data)

    async def head(self, key: str) -> ObjectInfo:
        await trio.lowlevel.checkpoint()
        return self._info(key, self._find(key))

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        check_limit(limit)
        await trio.lowlevel.checkpoint()
        found: list[ObjectInfo] = []
        first = max(bisect_left(self._keys, prefix), bisect_right(self._keys, start_after))
        for key in islice(self._keys, first, None):
            if not key.startswith(prefix):
                break
            if len(found) == limit:
                return ListPage(objects=tuple(found), truncated=True)
            found.append(self._info(key, self._objects[key]))
        return ListPage(objects=tuple(found), truncated=False)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        await trio.lowlevel.checkpoint()
        for key in keys:
            if self._objects.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def _store(self, key: str, body: Body) -> None:
        if key not in self._objects:
            insort(self._keys, key)
        self._objects[key] = _Stored(data=b"".join(buffers_of(body)), modified_ms=self._clock.now_ms())

    def _find(self, key: str) -> _Stored:
        check_key(key)
        stored = self._objects.get(key)
        if stored is None:
            raise no_such_object(key)
        return stored

    def _info(self, key: str, stored: _Stored) -> ObjectInfo:
        return ObjectInfo(key=key, size_bytes=len(stored.data), modified_ms=stored.modified_ms)
