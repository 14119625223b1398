"""Deletes what was decided, in batches, and counts it.

Owns: batches, patience, counters. Does not own: what may go (decide.py).
Rules: 1 a delete is the same however often it happens and whenever it lands, because the keys never get a
valid object again: so errors are retried, later ones too; 2 what was not deleted is found again by whoever
LISTs next: nothing is remembered.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff, RetryPolicy
from libs.objectstore.port import LIST_LIMIT_MAX, ObjectStore
from libs.objectstore.retrying import RetryingObjectStore
from services.partition_owner.collection.decide import Allowed, Deletable

PATIENCE = RetryPolicy(
    backoff=Backoff(first_seconds=0.2, max_seconds=5.0), attempts_max=5, elapsed_seconds_max=30.0
)
BATCHES_AT_ONCE_MAX = 2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleterStatistics:
    """Since the process began, by the rule that allowed it."""

    objects: Mapping[Allowed, int]
    bytes: Mapping[Allowed, int]


class Deleter:
    """Shared by all of a process's collection."""

    def __init__(self, store: ObjectStore, *, rand: Rand) -> None:
        self._store = RetryingObjectStore(store, policy=PATIENCE, rand=rand)
        self._places = trio.Semaphore(BATCHES_AT_ONCE_MAX, max_value=BATCHES_AT_ONCE_MAX)
        self._objects: Counter[Allowed] = Counter()
        self._bytes: Counter[Allowed] = Counter()

    async def delete(self, garbage: Sequence[Deletable]) -> None:
        """Returns once all are gone. Raises Unavailable, Invalid: then any part is."""
        for begin in range(0, len(garbage), LIST_LIMIT_MAX):
            batch = garbage[begin : begin + LIST_LIMIT_MAX]
            async with self._places:
                await self._store.delete([each.key for each in batch])
            for each in batch:
                log.debug("object_collected", key=each.key, allowed=each.allowed.value)
                self._objects[each.allowed] += 1
                self._bytes[each.allowed] += each.size_bytes

    def statistics(self) -> DeleterStatistics:
        return DeleterStatistics(objects=dict(self._objects), bytes=dict(self._bytes))
