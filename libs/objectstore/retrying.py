"""Sends again what may be sent again without a thought.

Owns: which operations that is. Does not own: backoff (`libs/concurrency/retry.py`).
Rules: 1 reads, head, list and delete are repeated on any Unavailable: they are the same however often they
happen; 2 a put is repeated only when its outcome is known to be "nothing written". After an unknown outcome
the caller decides: a repeated conditional put would answer EXISTS about the caller's own object.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from libs.concurrency.rand import Rand
from libs.concurrency.retry import RetryPolicy, retry
from libs.model.errors import KafscaleError, Unavailable
from libs.objectstore.port import LIST_LIMIT_MAX, Body, ListPage, ObjectInfo, ObjectStore, PutResult

T = TypeVar("T")


class RetryingObjectStore:
    """Any store, more patiently."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        policy: RetryPolicy,
        rand: Rand,
        on_retry: Callable[[KafscaleError, int], None] | None = None,
    ) -> None:
        """`on_retry` hears each error that is not raised, with the number of failures so far."""
        self._store = store
        self._policy = policy
        self._rand = rand
        self._on_retry = on_retry

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        return await self._retry(lambda: self._store.put_if_absent(key, body), _nothing_written)

    async def put(self, key: str, body: Body) -> None:
        await self._retry(lambda: self._store.put(key, body), _nothing_written)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return await self._retry(lambda: self._store.get(key, start=start, length=length), _unavailable)

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        return await self._retry(lambda: self._store.get_suffix(key, length), _unavailable)

    async def head(self, key: str) -> ObjectInfo:
        return await self._retry(lambda: self._store.head(key), _unavailable)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = LIST_LIMIT_MAX) -> ListPage:
        return await self._retry(
            lambda: self._store.list(prefix, start_after=start_after, limit=limit), _unavailable
        )

    async def delete(self, keys: Sequence[str]) -> None:
        await self._retry(lambda: self._store.delete(keys), _unavailable)

    async def _retry(self, call: Callable[[], Awaitable[T]], when: Callable[[KafscaleError], bool]) -> T:
        return await retry(call, policy=self._policy, rand=self._rand, when=when, on_retry=self._on_retry)


def _unavailable(error: KafscaleError) -> bool:
    return isinstance(error, Unavailable)


def _nothing_written(error: KafscaleError) -> bool:
    return isinstance(error, Unavailable) and not error.outcome_unknown
