"""What the parts of a verification share: the store with its bounds, progress, and what was found.

Owns: reading within the bounds, counting, LISTing whole. Does not own: what is looked for.
Rules: 1 at most `gets_max` reads at a time, each of at most `window_bytes`, so that memory is bounded; 2 the
store is only read.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from zlib import crc32

import trio

from libs.model.errors import NotFound
from libs.objectstore.port import ObjectInfo, ObjectStore
from tools.bucket.report import Finding, Severity, Tally


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far it is: for whoever looks at it now and then. Totals are 0 until they were counted."""

    objects_total: int = 0
    bytes_total: int = 0
    objects_done: int = 0
    bytes_done: int = 0
    phase: str = "counting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`sample`: the share of chain objects and segments that are read whole, the others only at their ends.

    `orphans`: what collection may take is a finding too, for a cluster that had time to collect.
    """

    gets_max: int = 8
    window_bytes: int = 8 * 1024 * 1024
    sample: float = 1.0
    orphans: bool = False


class Work:
    """One verification under way."""

    def __init__(self, store: ObjectStore, options: Options, progress: Progress) -> None:
        self.store = store
        self.options = options
        self.progress = progress
        self.seen: dict[str, Tally] = {}
        self.read_bytes = 0
        self._findings: dict[Finding, None] = {}
        self._places = trio.CapacityLimiter(options.gets_max)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """In the order in which they were found, each once."""
        return tuple(self._findings)

    def error(self, kind: str, where: str, what: str) -> None:
        self._findings[Finding(severity=Severity.ERROR, kind=kind, where=where, what=what)] = None

    def warn(self, kind: str, where: str, what: str) -> None:
        self._findings[Finding(severity=Severity.WARNING, kind=kind, where=where, what=what)] = None

    def count(self, kind: str, info: ObjectInfo) -> None:
        self.seen.setdefault(kind, Tally()).add(info.size_bytes)

    def done(self, objects: Iterable[ObjectInfo]) -> None:
        for info in objects:
            self.progress.objects_done += 1
            self.progress.bytes_done += info.size_bytes

    def sampled(self, key: str) -> bool:
        """Whether this object's records are read: the same answer for a key, always."""
        return crc32(key.encode()) < self.options.sample * 2**32

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """None where there is no such object (any more)."""
        async with self._places:
            try:
                data = await self.store.get(key, start=start, length=length)
            except NotFound:
                return None
        self.read_bytes += len(data)
        return data

    async def get_suffix(self, key: str, length: int) -> tuple[bytes, int] | None:
        """The last bytes and the whole size; None where there is no such object (any more)."""
        async with self._places:
            try:
                data, size_bytes = await self.store.get_suffix(key, length)
            except NotFound:
                return None
        self.read_bytes += len(data)
        return data, size_bytes

    async def head(self, key: str) -> ObjectInfo | None:
        async with self._places:
            try:
                return await self.store.head(key)
            except NotFound:
                return None

    async def objects(
        self, prefix: str = "", *, start_after: str = "", before: str = ""
    ) -> AsyncIterator[ObjectInfo]:
        """Every object, in key order, up to the key `before` where one is given. To be read to its end."""
        after = start_after
        while True:
            page = await self.store.list(prefix, start_after=after)
            for info in page.objects:
                after = info.key
                if before and info.key >= before:
                    return
                yield info
            if not page.truncated:
                return


@dataclass(slots=True, kw_only=True)
class Group:
    """Objects that belong together: a chain, a partition's folder, what is below `meta/`."""

    name: str
    objects: list[ObjectInfo] = field(default_factory=list)
