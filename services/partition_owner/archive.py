"""Keeps the bucket able to tell the cluster without its metadata store: snapshots of it, topics' objects.

Owns: when a snapshot is written, by whom, which ones stay. Does not own: what is in one (the metadata
service), its bytes (libs/segments/snapshot.py), putting one back (tools/bucket).
Rules: 1 one owner does it, chosen by rendezvous over those in the watch; two at a time do no harm, their
names differ; 2 nothing changed, nothing is written: a quiet cluster is silent; 3 a snapshot's last part is
written when all others are there, and is the first to be deleted; 4 what fails is tried again at the next
round: snapshots are no part of any promise about records.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
import trio

from libs.clients.metadata import NO_REVISION, MetadataClient
from libs.clients.rendezvous import owner_for
from libs.clients.view import ClusterView
from libs.concurrency.clock import Clock
from libs.model.errors import Corrupt, KafscaleError
from libs.model.ids import OwnerId, Revision
from libs.objectstore.port import ObjectStore
from libs.segments.keys import (
    SNAPSHOTS_PREFIX,
    SnapshotName,
    parse_snapshot_key,
    snapshot_key,
    snapshot_part_key,
)
from libs.segments.layout import SNAPSHOT_PART_BYTES
from libs.segments.snapshot import (
    NO_DIGEST,
    Digest,
    SnapshotEntry,
    SnapshotPart,
    encode_snapshot_part,
    kept_snapshots,
    parse_snapshot_part,
)
from services.partition_owner.topic_objects import TopicObjects

TASK = "archive"
_TORN_MS = 24 * 60 * 60 * 1000
"""A snapshot without its last part is being written, or, after so long, never will be whole."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """How often, and what stays: the newest `recent_max`, and the newest of each of `days_max` days."""

    every_seconds: float
    recent_max: int
    days_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveStatistics:
    """`last_ms`: wall time of the last snapshot that this process wrote or found; 0: none."""

    elected: bool
    last_ms: int
    last_bytes: int
    """Of the last one that it wrote."""
    written: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Last:
    """The newest snapshot of the bucket; None and NO_DIGEST where there is none that can be read."""

    name: SnapshotName | None = None
    digest: bytes = NO_DIGEST


@dataclass(slots=True, kw_only=True)
class _Writing:
    """A snapshot on its way into the bucket."""

    name: SnapshotName | None = None
    parts: int = 0
    size_bytes: int = 0
    entries: list[SnapshotEntry] = field(default_factory=list)
    entries_bytes: int = 0
    digest: Digest = field(default_factory=Digest)


class Archive:
    """Runs in every owner; works in the one that is chosen."""

    def __init__(
        self,
        *,
        owner_id: OwnerId,
        store: ObjectStore,
        metadata: MetadataClient,
        view: ClusterView,
        topics: TopicObjects,
        limits: ArchiveLimits,
        clock: Clock,
    ) -> None:
        self._owner_id = owner_id
        self._store = store
        self._metadata = metadata
        self._view = view
        self._topics = topics
        self._limits = limits
        self._clock = clock
        self._last: _Last | None = None
        """None while this owner is not the chosen one, or has not looked yet."""
        self._seen = NO_REVISION
        self._last_bytes = self._written = self._failures = 0

    @property
    def elected(self) -> bool:
        return owner_for(TASK, self._view.owners) == self._owner_id

    def statistics(self) -> ArchiveStatistics:
        name = None if self._last is None else self._last.name
        return ArchiveStatistics(
            elected=self.elected,
            last_ms=0 if name is None else name.created_ms,
            last_bytes=self._last_bytes,
            written=self._written,
            failures=self._failures,
        )

    async def run(self) -> None:
        """A round every so often, until cancelled."""
        while True:
            await trio.sleep(self._limits.every_seconds)
            await self.round()

    async def round(self) -> None:
        """Writes what changed, where this owner is the one who does; raises none of the platform's errors."""
        if not self.elected:
            self._last, self._seen = None, NO_REVISION
            return
        try:
            if self._last is None:
                await self._topics.learn(self._view.topics)
                self._last = await self._newest()
            await self._write_topics()
            await self._write_snapshot(self._last)
        except KafscaleError as error:
            self._failures += 1
            log.warning("metadata_snapshot_failed", reason=error.reason.value, error=error.message)

    async def _write_topics(self) -> None:
        """Objects of topics that have none, from before there were any, and of topics that changed."""
        for topic in list(self._view.topics.values()):
            await self._topics.ensure_current(topic)

    async def _write_snapshot(self, last: _Last) -> None:
        writing = _Writing()

        async def take(revision: Revision, entries: Sequence[SnapshotEntry]) -> None:
            writing.name = writing.name or self._new_name(last, revision)
            writing.digest.add(entries)
            for entry in entries:
                if writing.entries and writing.entries_bytes + entry.size_bytes > SNAPSHOT_PART_BYTES:
                    await self._put(writing, is_last=False)
                writing.entries.append(entry)
                writing.entries_bytes += entry.size_bytes

        revision = await self._metadata.snapshot(take, unless_revision=self._seen)
        digest = writing.digest.value()
        if writing.name is not None and (writing.parts or digest != last.digest):
            await self._put(writing, is_last=True)
            self._last = _Last(name=writing.name, digest=digest)
            self._last_bytes = writing.size_bytes
            self._written += 1
            log.info(
                "metadata_snapshot_written",
                key=snapshot_key(writing.name),
                parts=writing.parts,
                size_bytes=writing.size_bytes,
            )
            await self._prune()
        self._seen = revision

    def _new_name(self, last: _Last, revision: Revision) -> SnapshotName:
        """Later than the last one by its name, whatever the clock says."""
        now_ms = self._clock.now_ms()
        return SnapshotName(now_ms if last.name is None else max(now_ms, last.name.created_ms + 1), revision)

    async def _put(self, writing: _Writing, *, is_last: bool) -> None:
        assert writing.name is not None
        part = SnapshotPart(
            name=writing.name,
            part=writing.parts,
            parts=writing.parts + 1 if is_last else 0,
            digest=writing.digest.value() if is_last else NO_DIGEST,
            entries=tuple(writing.entries),
        )
        key = snapshot_key(part.name) if is_last else snapshot_part_key(part.name, part.part)
        body = encode_snapshot_part(part)
        await self._store.put_if_absent(key, body)
        writing.parts += 1
        writing.size_bytes += len(body)
        writing.entries = []
        writing.entries_bytes = 0

    async def _newest(self) -> _Last:
        """Raises Unavailable."""
        whole, _ = await self._list()
        for name in sorted(whole, reverse=True):
            try:
                part = parse_snapshot_part(await self._store.get(snapshot_key(name)))
            except Corrupt as error:
                log.error("metadata_snapshot_corrupt", key=snapshot_key(name), error=error.message)
            else:
                return _Last(name=name, digest=part.digest)
        return _Last()

    async def _list(self) -> tuple[set[SnapshotName], dict[str, SnapshotName]]:
        """Whole snapshots, and every earlier part by its key."""
        whole: set[SnapshotName] = set()
        parts: dict[str, SnapshotName] = {}
        after = ""
        while True:
            page = await self._store.list(SNAPSHOTS_PREFIX, start_after=after)
            for found in page.objects:
                after = found.key
                parsed = parse_snapshot_key(found.key)
                if parsed is not None and parsed[1] is None:
                    whole.add(parsed[0])
                elif parsed is not None:
                    parts[found.key] = parsed[0]
            if not page.truncated:
                return whole, parts

    async def _prune(self) -> None:
        """Deletes what is not kept, and what never became whole."""
        now_ms = self._clock.now_ms()
        whole, parts = await self._list()
        kept = kept_snapshots(
            whole, now_ms=now_ms, recent_max=self._limits.recent_max, days_max=self._limits.days_max
        )
        gone = whole - kept
        if gone:
            await self._store.delete([snapshot_key(name) for name in sorted(gone)])
        stale = [
            key
            for key, name in sorted(parts.items())
            if name in gone or (name not in whole and name.created_ms < now_ms - _TORN_MS)
        ]
        if stale:
            await self._store.delete(stale)
