"""The object store as a directory of the local file system: for one machine, with or without standalone.

Owns: threads and the port. Does not own: system calls (`disk.py`), names (`paths.py`), listing (`walk.py`).
Rules: 1 one thread hop an operation; 2 every success follows its syncs; a failed sync raises Fatal; 3 several
processes may use one directory at once, on a local file system with hard links and flock (Linux's all have).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from libs.concurrency.rand import Rand
from libs.concurrency.threads import Threads
from libs.model.errors import NotFound, Unavailable
from libs.objectstore.body import buffers_of
from libs.objectstore.disk import Disk
from libs.objectstore.keyrules import check_key, check_limit, check_range
from libs.objectstore.pools import GET_POOL, PUT_POOL
from libs.objectstore.port import LIST_LIMIT_MAX, Body, ListPage, ObjectInfo, PutResult
from libs.objectstore.walk import keys_from


class DirectoryObjectStore:
    """Objects as files; made by `open_directory_store`."""

    def __init__(self, disk: Disk, threads: Threads) -> None:
        """`threads` has the pools PUT_POOL and GET_POOL."""
        self._disk = disk
        self._threads = threads

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        check_key(key)
        return await self._threads.run(PUT_POOL, self._disk.put_if_absent, key, buffers_of(body))

    async def put(self, key: str, body: Body) -> None:
        check_key(key)
        await self._threads.run(PUT_POOL, self._disk.put, key, buffers_of(body))

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        check_range(start, length)
        return await self._threads.run(GET_POOL, self._disk.get, key, start, length)

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        check_key(key)
        check_range(0, length)
        return await self._threads.run(GET_POOL, self._disk.get_suffix, key, length)

    async def head(self, key: str) -> ObjectInfo:
        check_key(key)
        return await self._threads.run(GET_POOL, self._head, key)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        check_limit(limit)
        return await self._threads.run(GET_POOL, self._list, prefix, start_after, limit)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        await self._threads.run(PUT_POOL, self._disk.delete, tuple(keys))

    def _head(self, key: str) -> ObjectInfo:
        stat = self._disk.stat(key)
        return ObjectInfo(key=key, size_bytes=stat.st_size, modified_ms=stat.st_mtime_ns // 1_000_000)

    def _list(self, prefix: str, start_after: str, limit: int) -> ListPage:
        found: list[ObjectInfo] = []
        try:
            for key, _ in keys_from(self._disk.objects, prefix, start_after):
                if len(found) == limit:
                    return ListPage(objects=tuple(found), truncated=True)
                try:
                    found.append(self._head(key))
                except NotFound:
                    continue  # deleted since its folder was read
        except OSError as error:
            raise Unavailable(f"the object directory can't be listed: {error}") from error
        return ListPage(objects=tuple(found), truncated=False)


@asynccontextmanager
async def open_directory_store(
    path: str, *, threads: Threads, rand: Rand
) -> AsyncIterator[DirectoryObjectStore]:
    """Opens the directory, making it if need be. Raises Invalid when it can't be made or written."""
    disk = await threads.run(PUT_POOL, Disk, path, rand.uuid())
    try:
        yield DirectoryObjectStore(disk, threads)
    finally:
        disk.close()
