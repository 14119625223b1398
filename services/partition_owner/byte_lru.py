"""A cache bounded by bytes: the least recently used goes first. Pure.

Owns: the order, the sum, hits and misses. Does not own: how a missing value is made.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLru(Generic[K, V]):
    """Holds up to `bytes_max`, and always the newest."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        """Without a hit or a miss."""
        return key in self._entries

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Nothing where the key is there already: what is cached here never changes."""
        if key in self._entries:
            return
        self._entries[key] = (value, size_bytes)
        self.used_bytes += size_bytes
        while self.used_bytes > self.bytes_max and len(self._entries) > 1:
            _, (_, evicted_bytes) = self._entries.popitem(last=False)
            self.used_bytes -= evicted_bytes
