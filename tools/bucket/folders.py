"""Verifies a partition's folder: every manifest, segment and index, and that each manifest has what it names.

Owns: reading the folder. Does not own: which manifest counts (partitions.py), what may go (garbage.py).
Rules: 1 a segment is read whole, in windows, where it is sampled, else its ends; 2 an index says where
batches begin, and no record below a time entry's offset is later than it; 3 a manifest's segments leave no
gap between its log start and its end.
"""

from dataclasses import dataclass, field
from zlib import crc32

import trio
from crc32c import crc32c

from libs.model.errors import Corrupt, Invalid
from libs.model.ids import LeaderEpoch
from libs.objectstore.port import ObjectInfo
from libs.records import BatchView, whole_batches
from libs.records.layout import CRC_FROM
from libs.segments.keys import (
    ManifestName,
    PartitionFolder,
    SegmentName,
    manifest_key,
    parse_manifest_key,
    parse_segment_index_key,
    parse_segment_key,
    segment_index_key,
    segment_key,
)
from libs.segments.layout import SEGMENT_FOOTER_BYTES, SEGMENT_HEAD_BYTES, SEGMENT_LAST_OFFSET
from libs.segments.manifest import Manifest, parse_manifest
from libs.segments.segment import parse_segment_footer, parse_segment_head
from libs.segments.segment_index import SegmentIndex, parse_segment_index
from tools.bucket.chains import GIVEN_ID_MAX
from tools.bucket.work import Work

LEADER_EPOCH_MAX = 2**31 - 2**20
"""An int32 with room for the jumps of a thousand rebuilds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFacts:
    """What a manifest covers. `missing`: named objects that are not there, or of another size."""

    key: str
    name: ManifestName
    log_start: int
    end_offset: int
    hole: tuple[int, int] | None
    missing: tuple[str, ...]
    named_objects: int = 0
    producer_id_max: int = -1

    @property
    def whole(self) -> bool:
        return not self.missing and self.hole is None


@dataclass(slots=True, kw_only=True)
class Folder:
    """A partition's folder. `unnamed`: whether it has objects that its newest manifest does not name."""

    folder: PartitionFolder
    manifests: dict[str, ManifestFacts] = field(default_factory=dict)
    unnamed: bool = False
    epoch_max: int = -1
    """The greatest leader epoch in a key of the folder."""

    def newest_whole(self) -> ManifestFacts | None:
        """The newest manifest that has all it names: what a rebuild takes."""
        whole = [facts for facts in self.manifests.values() if facts.whole]
        return max(whole, key=lambda facts: facts.name, default=None)

    def end_promised(self) -> int:
        """Up to where any of its manifests says that records were durable."""
        return max((facts.end_offset for facts in self.manifests.values()), default=0)


async def verify_folder(work: Work, folder: PartitionFolder, objects: list[ObjectInfo]) -> Folder:
    """Reads everything in the folder, whose LIST is `objects`."""
    result = Folder(folder=folder)
    sizes = {info.key: info.size_bytes for info in objects}
    async with trio.open_nursery() as nursery:
        for info in objects:
            segment, index = parse_segment_key(info.key), parse_segment_index_key(info.key)
            named = segment or index or parse_manifest_key(info.key)
            if named is not None and named[1].leader_epoch > LEADER_EPOCH_MAX:
                work.count("foreign", info)  # no owner of ours ever had such an epoch
                continue
            result.epoch_max = max(result.epoch_max, -1 if named is None else named[1].leader_epoch)
            if segment is not None:
                work.count("segment", info)
                nursery.start_soon(_verify_segment, work, folder, segment[1], info)
            elif index is not None:
                work.count("segment index", info)
                if segment_key(folder, index[1]) not in sizes:
                    nursery.start_soon(_verify_index_alone, work, info)
            elif parse_manifest_key(info.key) is not None:
                work.count("manifest", info)
                nursery.start_soon(_verify_manifest, work, result, info, sizes)
            else:
                work.count("foreign", info)
    newest = max(result.manifests.values(), key=lambda facts: facts.name, default=None)
    result.unnamed = newest is None or len(sizes) > 1 + newest.named_objects
    work.done(objects)
    return result


async def _verify_manifest(work: Work, result: Folder, info: ObjectInfo, sizes: dict[str, int]) -> None:
    data = await work.get(info.key)
    parsed = parse_manifest_key(info.key)
    if data is None or parsed is None:
        return
    try:
        manifest = parse_manifest(data)
        _check_identity(manifest, *parsed)
    except Corrupt as error:
        work.error("corrupt", info.key, error.message)
        return
    result.manifests[info.key] = manifest_facts(result.folder, manifest, sizes)


def _check_identity(manifest: Manifest, folder: PartitionFolder, name: ManifestName) -> None:
    says = (manifest.tp.topic_id, manifest.tp.partition, manifest.leader_epoch, manifest.n)
    if says != (folder.topic_id, folder.partition, *name):
        raise Corrupt(f"it says {manifest.tp}, epoch {manifest.leader_epoch}, number {manifest.n}")


def manifest_facts(folder: PartitionFolder, manifest: Manifest, sizes: dict[str, int]) -> ManifestFacts:
    """Judges a manifest by what is in its folder: sizes by key."""
    missing: list[str] = []
    for segment in manifest.segments:
        wanted = {
            segment_key(folder, segment.name): segment.size_bytes,
            segment_index_key(folder, segment.name): segment.index_bytes,
        }
        missing += [key for key, size_bytes in wanted.items() if sizes.get(key) != size_bytes]
    name = ManifestName(LeaderEpoch(manifest.leader_epoch), manifest.n)
    producers = [each.producer_id for each in manifest.producers if each.producer_id < GIVEN_ID_MAX]
    return ManifestFacts(
        key=manifest_key(folder, name),
        name=name,
        log_start=manifest.log_start,
        end_offset=manifest.end_offset,
        hole=_hole_in(manifest),
        missing=tuple(missing),
        named_objects=2 * len(manifest.segments),
        producer_id_max=max(producers, default=-1),
    )


def _hole_in(manifest: Manifest) -> tuple[int, int] | None:
    """The first offsets from the log start on that no segment has."""
    reached = manifest.log_start
    for segment in manifest.segments:
        if segment.name.base_offset > reached:
            return reached, segment.name.base_offset
        reached = max(reached, segment.last_offset + 1)
    return None if reached >= manifest.end_offset else (reached, manifest.end_offset)


async def _verify_index_alone(work: Work, info: ObjectInfo) -> None:
    data = await work.get(info.key)
    if data is None:
        return
    try:
        parse_segment_index(data)
    except Corrupt as error:
        work.error("corrupt", info.key, error.message)


async def _verify_segment(work: Work, folder: PartitionFolder, name: SegmentName, info: ObjectInfo) -> None:
    """A segment with its index, which may be missing as long as no manifest names it."""
    index_key = segment_index_key(folder, name)
    data = await work.get(index_key)
    index: SegmentIndex | None = None
    if data is not None:
        try:
            index = parse_segment_index(data)
        except Corrupt as error:
            work.error("corrupt", index_key, error.message)
    try:
        await _SegmentReading(work, name, info, index).run()
    except (Corrupt, Invalid) as error:
        work.error("corrupt", info.key, error.message)
    except _GoneError:
        return  # collected meanwhile


class _GoneError(Exception):
    """The object went away while it was read."""


class _SegmentReading:
    """Reads a segment from its head to its footer, a window at a time."""

    def __init__(self, work: Work, name: SegmentName, info: ObjectInfo, index: SegmentIndex | None) -> None:
        self._work = work
        self._name = name
        self._info = info
        self._index = index
        self._offsets_seen = self._times_seen = 0
        self._next_offset = int(name.base_offset)
        self._records = 0
        self._latest_ms = -1

    async def run(self) -> None:
        """Raises Corrupt, Invalid (from the batches), _GoneError."""
        size_bytes = self._info.size_bytes
        footer = parse_segment_footer(await self._get(max(0, size_bytes - SEGMENT_FOOTER_BYTES), None))
        head_bytes = await self._get(0, SEGMENT_HEAD_BYTES)
        head = parse_segment_head(head_bytes)
        if head.base_offset != self._name.base_offset:
            raise Corrupt(f"the segment begins at {head.base_offset}")
        if not self._work.sampled(self._info.key):
            return
        crc, position, end = crc32(head_bytes), SEGMENT_HEAD_BYTES, size_bytes - SEGMENT_FOOTER_BYTES
        rest = b""
        while position < end:
            window = await self._get(position, min(self._work.options.window_bytes, end - position))
            crc = crc32(window, crc)
            rest = self._batches(rest + window, position - len(rest))
            position += len(window)
        if rest:
            raise Corrupt("the last batch of the segment is cut off")
        if crc32(SEGMENT_LAST_OFFSET.pack(footer.last_offset), crc) != footer.crc:
            raise Corrupt("the CRC of the segment is wrong")
        if (self._records, self._next_offset) != (head.record_count, footer.last_offset + 1):
            raise Corrupt(
                f"the segment has {self._records} records up to {self._next_offset - 1}, and says"
                f" {head.record_count} up to {footer.last_offset}"
            )
        index = self._index
        if index is not None and (self._offsets_seen, self._times_seen) != (
            len(index.offsets),
            len(index.times),
        ):
            raise Corrupt("its index has entries that fit no batch")

    async def _get(self, start: int, length: int | None) -> bytes:
        data = await self._work.get(self._info.key, start=start, length=length)
        if data is None:
            raise _GoneError
        return data

    def _batches(self, data: bytes, position: int) -> bytes:
        """Checks the whole batches of `data`, which begins at `position`; gives the bytes that are left."""
        used = 0
        for batch in whole_batches(data):
            if crc32c(batch.data[CRC_FROM:]) != batch.crc:
                raise Corrupt(f"the batch at offset {batch.base_offset} has a wrong CRC")
            if batch.base_offset < self._next_offset or batch.last_offset_delta < 0:
                raise Corrupt(f"the batch at offset {batch.base_offset} follows {self._next_offset - 1}")
            if self._index is not None:
                self._entries(self._index, batch, position + used)
            self._next_offset = batch.next_offset
            self._records += batch.record_count
            self._latest_ms = max(self._latest_ms, batch.max_timestamp_ms)
            used += batch.size_bytes
        return data[used:]

    def _entries(self, index: SegmentIndex, batch: BatchView, position: int) -> None:
        """The entries that are at this batch."""
        at = self._offsets_seen
        if at < len(index.offsets) and index.offsets[at].position <= position:
            if tuple(index.offsets[at]) != (batch.base_offset, position):
                raise Corrupt(f"its index has {tuple(index.offsets[at])}, the batch is {batch.base_offset}")
            self._offsets_seen += 1
        at = self._times_seen
        if at < len(index.times) and index.times[at].offset <= batch.base_offset:
            if index.times[at].offset != batch.base_offset or index.times[at].timestamp_ms < self._latest_ms:
                raise Corrupt(
                    f"its index has the time {tuple(index.times[at])}, before it is {self._latest_ms}"
                )
            self._times_seen += 1
