"""What the store holds that is worth keeping, at one revision: for snapshots in the bucket, and for verifying
it.

Owns: which keys are kept, reading them in bounded parts. Does not own: where snapshots go (the owners'
archive), putting one back (tools/bucket).
Rules: 1 all parts are of one revision, that of the first page read; 2 keys come in order; 3 what stands on a
lease is not kept: after a restore everyone registers anew.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from libs.model.ids import Revision
from libs.segments.snapshot import SnapshotEntry
from services.metadata import keys
from services.metadata.kv.port import KV

PAGE_ITEMS = 200
PART_BYTES = 1024 * 1024

KEPT = tuple(
    sorted(
        (
            keys.CLUSTER,
            keys.TOPICS,
            keys.DELETING,
            keys.BROKER_IDS,
            keys.ASSIGNMENTS,
            keys.PARTITIONS,
            keys.GROUPS,
            keys.OFFSETS,
            keys.PRODUCER_IDS,
        )
    )
)
"""Prefixes. Assignments and partition states are kept for what they promised (epochs, log starts): where data
is, the bucket knows better."""
LIVE = (keys.OWNERS, keys.SESSIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some of the keys of `revision`."""

    revision: Revision
    entries: tuple[SnapshotEntry, ...]


class TakeSnapshot(Protocol):
    """`snapshot` of a store."""

    def __call__(self, unless_revision: Revision, *, with_live: bool) -> AsyncGenerator[Part, None]: ...


async def snapshot(kv: KV, unless_revision: Revision, *, with_live: bool) -> AsyncGenerator[Part, None]:
    """The kept keys in parts of about PART_BYTES; at least one part, which tells the revision.

    Only the empty one where the store is still at `unless_revision`. `with_live`: registered owners and
    sessions too. Raises Unavailable, and Fenced(GUARD_FAILED) where the revision was compacted meanwhile:
    begin anew.
    """
    revision: Revision | None = None
    entries: list[SnapshotEntry] = []
    size_bytes = 0
    for prefix in sorted((*KEPT, *LIVE)) if with_live else KEPT:
        start_after, more = "", True
        while more:
            page = await kv.range(prefix, start_after=start_after, limit=PAGE_ITEMS, revision=revision)
            if revision is None:
                revision = page.revision
                if revision == unless_revision:
                    yield Part(revision=revision, entries=())
                    return
            more = page.more
            for item in page.items:
                start_after = item.key
                entry = SnapshotEntry(item.key, item.value, item.mod_revision)
                if entries and size_bytes + entry.size_bytes > PART_BYTES:
                    yield Part(revision=revision, entries=tuple(entries))
                    entries, size_bytes = [], 0
                entries.append(entry)
                size_bytes += entry.size_bytes
    assert revision is not None
    yield Part(revision=revision, entries=tuple(entries))
