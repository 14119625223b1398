"""Looks through the bucket for what no list and no memory leads to: orphans, late PUTs, void seals.

Owns: the walk, its pace and its bounds. Does not own: what may go (decide.py).
Rules: 1 a folder is LISTed first, then the references are read, then the manifests that count (design
section 3, rule 16); 2 a chain's left-overs are judged by the bucket alone; 3 a topic's folder goes where the
metadata store says so, or where it knows nothing and a tombstone says so: a store that was wiped must not
empty the bucket; 4 keys that are not ours are passed over; 5 a walk costs a LIST per thousand objects, and
pauses between two.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.model.errors import Corrupt, KafscaleError, NotFound
from libs.model.ids import TopicId, TopicPartition
from libs.model.references import PartitionReferences, TopicPhase
from libs.objectstore.port import ObjectInfo, ObjectStore
from libs.objectstore.retrying import RetryingObjectStore
from libs.segments.keys import (
    META_PREFIX,
    TOMBSTONES_PREFIX,
    WAL_PREFIX,
    PartitionFolder,
    parse_chain_index_key,
    parse_chain_object_key,
    parse_start_marker_key,
    parse_tombstone_key,
    partition_prefix,
    session_prefix,
)
from libs.segments.manifest import Manifest
from services.partition_owner.collection.chains import ChainStarts, list_all
from services.partition_owner.collection.decide import (
    Deletable,
    folder_garbage,
    folder_of,
    is_gone,
    manifests_to_read,
    topic_garbage,
)
from services.partition_owner.collection.deleter import PATIENCE, Deleter
from services.partition_owner.collection.source import ReferenceSource
from services.partition_owner.manifests import read_manifest

FOLDERS_AT_ONCE_MAX = 200
OBJECTS_AT_ONCE_MAX = 10_000
PAUSE_SECONDS = 0.05
_LAST = "~"  # behind every character of our keys

log = structlog.get_logger(__name__)

_Folders = dict[TopicPartition, list[ObjectInfo]]


class Sweep:
    """Any number may run, on any owners."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        references: ReferenceSource,
        starts: ChainStarts,
        deleter: Deleter,
        rand: Rand,
    ) -> None:
        self._store = RetryingObjectStore(store, policy=PATIENCE, rand=rand)
        self._references = references
        self._starts = starts
        self._deleter = deleter

    async def sweep(self) -> None:
        """The whole bucket. Raises Unavailable, and Fenced where the metadata store went back."""
        await self._sweep_chains()
        # A tombstone is for ever, so it may be read before the LIST.
        tombstones = await list_all(self._store, TOMBSTONES_PREFIX)
        buried = {topic_id for each in tombstones if (topic_id := parse_tombstone_key(each.key)) is not None}
        async with aclosing(self._folders()) as found:
            async for folders in found:
                await self._judge(folders, frozenset(buried))

    async def sweep_folders(self, folders: Iterable[PartitionFolder]) -> None:
        """Only these partitions' folders. Raises like `sweep`."""
        found: _Folders = {}
        for folder in folders:
            found[TopicPartition(folder.topic_id, folder.partition)] = await list_all(
                self._store, partition_prefix(folder)
            )
            if _is_enough(found):
                await self._judge(found, frozenset())
                found = {}
            await trio.sleep(PAUSE_SECONDS)
        await self._judge(found, frozenset())

    # Chains

    async def _sweep_chains(self) -> None:
        after = ""
        while True:
            page = await self._store.list(WAL_PREFIX, start_after=after)
            after = page.objects[-1].key if page.objects else ""
            for each in page.objects:
                place = (
                    parse_chain_object_key(each.key)
                    or parse_chain_index_key(each.key)
                    or parse_start_marker_key(each.key)
                )
                if place is None:
                    continue
                try:
                    await self._starts.sweep(place.session)
                except KafscaleError as error:
                    log.warning("chain_not_swept", session=str(place.session), error=error.message)
                after = session_prefix(place.session) + _LAST
                break
            else:
                if not page.truncated:
                    return
            await trio.sleep(PAUSE_SECONDS)

    # Folders

    async def _folders(self) -> AsyncGenerator[_Folders, None]:
        """Whole folders, a bounded number at a time. A folder's keys follow each other."""
        found: _Folders = {}
        current: TopicPartition | None = None
        async with aclosing(self._in_folders()) as objects:
            async for tp, each in objects:
                if tp != current and _is_enough(found):
                    yield found
                    found = {}
                current = tp
                found.setdefault(tp, []).append(each)
        yield found

    async def _in_folders(self) -> AsyncGenerator[tuple[TopicPartition, ObjectInfo], None]:
        """Every object of ours in a partition's folder; `wal/` and `meta/` are stepped over."""
        after = ""
        while True:
            page = await self._store.list("", start_after=after)
            skipped = False
            for each in page.objects:
                after = each.key
                behind = next((p + _LAST for p in (META_PREFIX, WAL_PREFIX) if after.startswith(p)), "")
                if after < behind:
                    after, skipped = behind, True
                    break
                folder = folder_of(each.key)
                if folder is not None:
                    yield TopicPartition(folder.topic_id, folder.partition), each
            if not (skipped or page.truncated):
                return
            await trio.sleep(PAUSE_SECONDS)

    async def _judge(self, folders: _Folders, buried: frozenset[TopicId]) -> None:
        if not folders:
            return
        topics = sorted({tp.topic_id for tp in folders})
        found = await self._references.get(partitions=list(folders), topics=topics)
        garbage: list[Deletable] = []
        for tp, listed in folders.items():
            phase = found.topics.get(tp.topic_id, TopicPhase.EXISTS)
            if is_gone(phase, buried=tp.topic_id in buried):
                garbage += topic_garbage(tp.topic_id, listed)
            elif phase is TopicPhase.EXISTS:
                garbage += await self._orphans(tp, listed, found.partitions.get(tp))
        await self._deleter.delete(garbage)

    async def _orphans(
        self, tp: TopicPartition, listed: Sequence[ObjectInfo], found: PartitionReferences | None
    ) -> list[Deletable]:
        manifests: dict[str, Manifest] = {}
        for key in manifests_to_read(listed, found):
            try:
                manifests[key] = await read_manifest(self._store, key, tp)
            except NotFound:
                pass  # what the state names by now is another one: the next sweep reads that
            except Corrupt as error:
                log.error("manifest_corrupt", tp=str(tp), key=key, error=error.message)
        return folder_garbage(listed, found, manifests)


def _is_enough(found: _Folders) -> bool:
    return len(found) >= FOLDERS_AT_ONCE_MAX or sum(map(len, found.values())) >= OBJECTS_AT_ONCE_MAX
