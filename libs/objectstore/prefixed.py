"""A part of a store that looks like a whole one: every key gets a prefix.

Owns: adding and taking off the prefix. Does not own: what the keys mean.
"""

from collections.abc import Sequence
from dataclasses import replace

from libs.objectstore.keyrules import check_key
from libs.objectstore.port import LIST_LIMIT_MAX, Body, ListPage, ObjectInfo, ObjectStore, PutResult


class PrefixedObjectStore:
    """`namespace` is itself a valid key; a slash stands between it and the keys."""

    def __init__(self, store: ObjectStore, namespace: str) -> None:
        """Raises Invalid for a namespace that is no valid key."""
        check_key(namespace)
        self._store = store
        self._prefix = namespace + "/"

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        check_key(key)
        return await self._store.put_if_absent(self._prefix + key, body)

    async def put(self, key: str, body: Body) -> None:
        check_key(key)
        await self._store.put(self._prefix + key, body)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        return await self._store.get(self._prefix + key, start=start, length=length)

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        check_key(key)
        return await self._store.get_suffix(self._prefix + key, length)

    async def head(self, key: str) -> ObjectInfo:
        check_key(key)
        return self._shown(await self._store.head(self._prefix + key))

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        page = await self._store.list(
            self._prefix + prefix, start_after=self._prefix + start_after, limit=limit
        )
        return ListPage(objects=tuple(map(self._shown, page.objects)), truncated=page.truncated)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        await self._store.delete([self._prefix + key for key in keys])

    def _shown(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, key=info.key.removeprefix(self._prefix))
