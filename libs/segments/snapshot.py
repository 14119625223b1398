"""A snapshot of the metadata store: its keys and values at one revision, in one or more objects.

Owns: the bytes of a part, the digest of all, which snapshots are kept. Does not own: what the values mean
(the metadata service), when one is taken (the owner's archive).
Rules: 1 values are opaque; 2 the last part is written when all others are there, so where it is, the snapshot
is whole; 3 it carries a digest of all keys and values, so that two snapshots of the same content are told
from each other without reading them; 4 a CRC32C covers each part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from crc32c import crc32c

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.model.ids import Revision
from libs.segments.keys import SnapshotName
from libs.segments.layout import (
    CRC,
    SNAPSHOT_BYTES_MAX,
    SNAPSHOT_DIGEST_BYTES,
    SNAPSHOT_ENTRY,
    SNAPSHOT_HEAD,
    SNAPSHOT_HEAD_BYTES,
    SNAPSHOT_MAGIC,
    SNAPSHOT_PARTS_MAX,
    SNAPSHOT_VERSION,
)

_ZEROS = b"\0\0\0"
NO_DIGEST = bytes(SNAPSHOT_DIGEST_BYTES)
_DAY_MS = 24 * 60 * 60 * 1000


class SnapshotEntry(NamedTuple):
    """A key of the metadata store (below its prefix), its value, and the revision of its last change."""

    key: str
    value: bytes
    mod_revision: Revision

    @property
    def size_bytes(self) -> int:
        """In a part."""
        return SNAPSHOT_ENTRY.size + len(self.key.encode()) + len(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPart:
    """Part `part` of a snapshot. `parts` and `digest` are the last part's: 0 and NO_DIGEST in the others."""

    name: SnapshotName
    part: int
    parts: int
    digest: bytes
    entries: tuple[SnapshotEntry, ...]

    @property
    def is_last(self) -> bool:
        return self.parts > 0


class Digest:
    """Of all keys and values of a snapshot, in order; revisions don't count."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=SNAPSHOT_DIGEST_BYTES)

    def add(self, entries: Iterable[SnapshotEntry]) -> None:
        for entry in entries:
            key = entry.key.encode()
            self._hash.update(SNAPSHOT_ENTRY.pack(len(key), len(entry.value), 0) + key)
            self._hash.update(entry.value)

    def value(self) -> bytes:
        return self._hash.digest()


def encode_snapshot_part(part: SnapshotPart) -> bytes:
    """A part's bytes. Raises ValueError for what the format can't hold."""
    wrong = _wrong_with(part)
    if wrong:
        raise ValueError(wrong)
    pieces = [
        SNAPSHOT_HEAD.pack(
            SNAPSHOT_MAGIC,
            SNAPSHOT_VERSION,
            _ZEROS,
            part.name.created_ms,
            part.name.revision,
            part.part,
            part.parts,
            len(part.entries),
            part.digest,
        )
    ]
    for entry in part.entries:
        key = entry.key.encode()
        pieces += [SNAPSHOT_ENTRY.pack(len(key), len(entry.value), entry.mod_revision), key, entry.value]
    body = b"".join(pieces)
    if len(body) > SNAPSHOT_BYTES_MAX:
        raise ValueError(f"a snapshot's part of {len(body)} bytes is too large")
    return body + CRC.pack(crc32c(body))


def parse_snapshot_part(data: Buffer) -> SnapshotPart:
    """The inverse of `encode_snapshot_part`. Raises Corrupt."""
    view = memoryview(data)
    if not SNAPSHOT_HEAD_BYTES + CRC.size <= view.nbytes <= SNAPSHOT_BYTES_MAX + CRC.size:
        raise Corrupt(f"a snapshot's part can't have {view.nbytes} bytes")
    end = view.nbytes - CRC.size
    magic, version, zeros, created_ms, revision, number, parts, count, digest = SNAPSHOT_HEAD.unpack_from(
        view
    )
    if (magic, version, zeros) != (SNAPSHOT_MAGIC, SNAPSHOT_VERSION, _ZEROS):
        raise Corrupt(f"a snapshot begins with {magic!r}, version {version}: not known here")
    if CRC.unpack_from(view, end) != (crc32c(view[:end]),):
        raise Corrupt("the CRC of a snapshot is wrong")
    entries: list[SnapshotEntry] = []
    position = SNAPSHOT_HEAD_BYTES
    while len(entries) < count:
        key_at = position + SNAPSHOT_ENTRY.size
        if key_at > end:
            raise Corrupt("the entries of a snapshot are cut off")
        key_bytes, value_bytes, mod_revision = SNAPSHOT_ENTRY.unpack_from(view, position)
        value_at, position = key_at + key_bytes, key_at + key_bytes + value_bytes
        if position > end:
            raise Corrupt("an entry of a snapshot is cut off")
        try:
            key = bytes(view[key_at:value_at]).decode()
        except UnicodeDecodeError as error:
            raise Corrupt("a key in a snapshot is no text") from error
        entries.append(SnapshotEntry(key, bytes(view[value_at:position]), Revision(mod_revision)))
    part = SnapshotPart(
        name=SnapshotName(created_ms, Revision(revision)),
        part=number,
        parts=parts,
        digest=digest,
        entries=tuple(entries),
    )
    wrong = _wrong_with(part)
    if wrong or position != end:
        raise Corrupt(wrong or "a snapshot has bytes after its last entry")
    return part


def kept_snapshots(
    names: Iterable[SnapshotName], *, now_ms: int, recent_max: int, days_max: int
) -> frozenset[SnapshotName]:
    """Those to keep: the `recent_max` newest, and the newest of each day (UTC) for `days_max` days."""
    newest_first = sorted(names, reverse=True)
    kept = set(newest_first[:recent_max])
    days: set[int] = set()
    for name in newest_first:
        day = name.created_ms // _DAY_MS
        if day not in days and now_ms - name.created_ms <= days_max * _DAY_MS:
            kept.add(name)
        days.add(day)
    return frozenset(kept)


def check_whole(parts: Sequence[SnapshotPart]) -> None:
    """Raises Corrupt unless these are all parts of one snapshot, in order."""
    last = parts[-1]
    if last.parts != len(parts) or [each.part for each in parts] != list(range(len(parts))):
        raise Corrupt(f"a snapshot has {len(parts)} parts, its last one says {last.parts}")
    digest = Digest()
    for each in parts:
        if each.name != last.name or (each.is_last and each is not last):
            raise Corrupt("a part of a snapshot belongs to another one")
        digest.add(each.entries)
    if digest.value() != last.digest:
        raise Corrupt("the digest of a snapshot is wrong")


def _wrong_with(part: SnapshotPart) -> str:
    """What is impossible about a part; empty when nothing is."""
    if min(part.name) < 0 or part.part >= SNAPSHOT_PARTS_MAX:
        return f"a snapshot has the impossible name {tuple(part.name)} or part {part.part}"
    if part.is_last and part.part != part.parts - 1:
        return f"part {part.part} of a snapshot says that it is the last of {part.parts}"
    if len(part.digest) != SNAPSHOT_DIGEST_BYTES or (part.digest != NO_DIGEST) != part.is_last:
        return "a snapshot's digest is in its last part and nowhere else"
    keys = [entry.key for entry in part.entries]
    if keys != sorted(set(keys)) or not all(keys):
        return "the keys of a snapshot are out of order"
    return ""
