"""Deletes what can provably never be named again, and nothing else.

Owns: the order of LIST, references and manifests, and telling. Does not own: the decisions, which are those
of the owners' collection (services/partition_owner/collection/decide.py).
Rules (design section 3):
1 below_start, old_marker, beyond_end: a chain's own markers say that everything below is gone (rule 8); asks
  nobody;
2 unnamed: in a partition's folder, of an epoch below the assignment's, in no manifest that counts, where
  epoch and pointer were read after the LIST (rule 16); only with metadata;
3 topic_deleted: of a topic that metadata has deleted, or does not know while a tombstone names it (rule 17),
  read after the LIST; only with metadata;
4 everything else is left to people, or to collection.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from libs.model.cluster import PartitionState
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, SessionId, TopicPartition
from libs.model.references import PartitionReferences, TopicPhase
from libs.objectstore.port import ObjectInfo, ObjectStore
from libs.segments.keys import META_PREFIX, PartitionFolder
from libs.segments.manifest import Manifest, parse_manifest
from services.partition_owner.collection.decide import (
    Deletable,
    chain_garbage,
    folder_garbage,
    folder_of,
    is_gone,
    manifests_to_read,
    topic_garbage,
)
from tools.bucket.chains import list_start, verify_chain
from tools.bucket.known import Known, SnapshotSource, read_known
from tools.bucket.listing import chain_groups, data_objects
from tools.bucket.meta import Meta, verify_meta
from tools.bucket.report import Tally
from tools.bucket.work import Options, Progress, Work

_FOLDERS_AT_ONCE_MAX = 500
_DELETE_KEYS_MAX = 500

Tell = Callable[[str], None]
_Folders = dict[PartitionFolder, list[ObjectInfo]]


async def fix(store: ObjectStore, metadata: SnapshotSource | None, *, tell: Tell) -> dict[str, Tally]:
    """Deletes, tells each key and the rule that allows it; returns what went by rule.

    Raises Unavailable, Corrupt (where metadata can't be read): what was deleted until then may go.
    """
    work = Work(store, Options(sample=0.0), Progress())
    fixing = _Fixing(work, tell)
    async for session, objects in chain_groups(work):
        await fixing.delete(chain_garbage(session, objects, end=await _end(work, session, objects)))
    if metadata is not None:
        meta = await verify_meta(work, META_PREFIX)
        async for folders in _folders(work):
            await fixing.folders(folders, await read_known(metadata), meta)
    return fixing.deleted


async def _end(work: Work, session: SessionId, objects: list[ObjectInfo]) -> ChainSeq | None:
    """Where the chain ends for ever; None while it may go on, or what it holds can't be read."""
    before = len(work.findings)
    chain = await verify_chain(work, session, objects)
    if not chain.sealed or len(work.findings) > before:
        return None
    # Rule 8: a seal below a marker that came after the LIST is void, and the chain may be alive.
    return ChainSeq(chain.end) if await list_start(work, session) == chain.start else None


async def _folders(work: Work) -> AsyncIterator[_Folders]:
    """Partitions' folders with their LISTs, some hundreds at a time."""
    folders: _Folders = {}
    async for info in data_objects(work):
        folder = folder_of(info.key)
        if folder is None:
            continue
        if folder not in folders and len(folders) >= _FOLDERS_AT_ONCE_MAX:
            yield folders
            folders = {}
        folders.setdefault(folder, []).append(info)
    if folders:
        yield folders


class _Fixing:
    def __init__(self, work: Work, tell: Tell) -> None:
        self._work = work
        self._tell = tell
        self.deleted: dict[str, Tally] = {}

    async def folders(self, folders: _Folders, known: Known, meta: Meta) -> None:
        """`known` was read after the LISTs of `folders`."""
        for folder, objects in folders.items():
            if is_gone(_phase(known, folder), buried=folder.topic_id in meta.tombstones):
                await self.delete(topic_garbage(folder.topic_id, objects))
            else:
                await self._partition(folder, objects, known)

    async def _partition(self, folder: PartitionFolder, objects: list[ObjectInfo], known: Known) -> None:
        tp = TopicPartition(folder.topic_id, folder.partition)
        assignment = known.assignments.get(tp)
        if assignment is None:
            return
        references = PartitionReferences(
            session=assignment.session,
            leader_epoch=assignment.leader_epoch,
            opened=True,
            manifest_key=known.states.get(tp, PartitionState()).manifest_key,
        )
        manifests: dict[str, Manifest] = {}
        for key in manifests_to_read(objects, references):
            data = await self._work.get(key)
            if data is None:
                return
            try:
                manifests[key] = parse_manifest(data)
            except Corrupt:
                return  # never guess what it named
        await self.delete(folder_garbage(objects, references, manifests))

    async def delete(self, garbage: Sequence[Deletable]) -> None:
        for first in range(0, len(garbage), _DELETE_KEYS_MAX):
            some = garbage[first : first + _DELETE_KEYS_MAX]
            await self._work.store.delete([each.key for each in some])
            for each in some:
                self.deleted.setdefault(each.allowed.value, Tally()).add(each.size_bytes)
                self._tell(f"deleted {each.key} ({each.allowed.value}, {each.size_bytes} bytes)")


def _phase(known: Known, folder: PartitionFolder) -> TopicPhase:
    if folder.topic_id in known.topics:
        return TopicPhase.EXISTS
    deleted = known.deleting.get(folder.topic_id)
    if deleted is None:
        return TopicPhase.UNKNOWN
    return TopicPhase.DELETED if deleted.partitions_removed else TopicPhase.DELETING
