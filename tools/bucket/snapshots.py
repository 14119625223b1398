"""The snapshots of the metadata store that a bucket has: finding one, reading it whole.

Owns: the choice by time, reading, what to do where one is damaged. Does not own: the bytes
(libs/segments/snapshot.py), what is in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from libs.model.errors import Corrupt, Invalid, NotFound
from libs.objectstore.port import ObjectStore
from libs.segments.keys import (
    SNAPSHOTS_PREFIX,
    SnapshotName,
    parse_snapshot_key,
    snapshot_key,
    snapshot_part_key,
)
from libs.segments.snapshot import SnapshotEntry, check_whole, parse_snapshot_part


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole snapshot of the metadata store."""

    name: SnapshotName
    entries: tuple[SnapshotEntry, ...]


async def list_snapshots(store: ObjectStore) -> list[SnapshotName]:
    """Those that are whole, the newest last."""
    found: list[SnapshotName] = []
    after = ""
    while True:
        page = await store.list(SNAPSHOTS_PREFIX, start_after=after)
        for info in page.objects:
            after = info.key
            parsed = parse_snapshot_key(info.key)
            if parsed is not None and parsed[1] is None:
                found.append(parsed[0])
        if not page.truncated:
            return sorted(found)


def choose(names: Sequence[SnapshotName], *, at_ms: int | None) -> SnapshotName | None:
    """The last one taken at or before `at_ms`; without it the newest, None where there is none.

    Raises Invalid where all are later.
    """
    early = [name for name in names if at_ms is None or name.created_ms <= at_ms]
    if at_ms is not None and not early:
        raise Invalid("the bucket has no snapshot of that time or before: see list-snapshots")
    return max(early, default=None)


async def read_snapshot(store: ObjectStore, name: SnapshotName) -> Snapshot:
    """Raises Corrupt where a part is damaged or not there, NotFound where there is no such snapshot."""
    last = parse_snapshot_part(await store.get(snapshot_key(name)))
    parts = []
    for number in range(last.part):
        try:
            parts.append(parse_snapshot_part(await store.get(snapshot_part_key(name, number))))
        except NotFound as error:
            raise Corrupt(f"part {number} of the snapshot {snapshot_key(name)} is not there") from error
    parts.append(last)
    if last.name != name:
        raise Corrupt(f"the snapshot {snapshot_key(name)} says {tuple(last.name)}")
    check_whole(parts)
    return Snapshot(name=name, entries=tuple(entry for part in parts for entry in part.entries))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """`as_of` is the one that was asked for, `newest` the newest that can be read. `lost`: what could not."""

    as_of: Snapshot | None = None
    newest: Snapshot | None = None
    lost: tuple[str, ...] = ()


async def choose_and_read(
    store: ObjectStore, *, at_ms: int | None, accept_loss: bool, tell: Callable[[str], None]
) -> Snapshots:
    """Raises Invalid where none is early enough, Corrupt where the one that is wanted can't be read."""
    names = await list_snapshots(store)
    wanted = choose(names, at_ms=at_ms)
    if wanted is None:
        return Snapshots()
    lost: list[str] = []
    newest: Snapshot | None = None
    for name in sorted(names, reverse=True):
        if newest is not None and name > wanted:
            continue
        try:
            read = await read_snapshot(store, name)
        except Corrupt as error:
            if name <= wanted and not accept_loss:
                raise Corrupt(
                    f"the snapshot {snapshot_key(name)} can't be read: {error.message}; --at with a time"
                    f" before {name.created_ms} takes an earlier one, --without-snapshot none, --accept-loss"
                    " the last that can be read"
                ) from error
            line = f"the snapshot {snapshot_key(name)} can't be read: {error.message}"
            tell(line)
            if name <= wanted:
                lost.append(line)
            continue
        newest = newest or read
        if name <= wanted:
            return Snapshots(as_of=read, newest=newest, lost=tuple(lost))
    return Snapshots(newest=newest, lost=tuple(lost))
