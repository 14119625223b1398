"""Changes what the metadata store has of an open partition: manifest, positions, log start.

Owns: the guarded commit, one at a time a partition, and what follows it here. Does not own: what changes (the
caller), the guards (services/metadata).
Rules (design section 3): 1 nothing is served or acknowledged before its commit is known (rule 14); 2 an
unknown outcome is read back before anything else; the very same state is then sent again, so that it does not
matter which of the attempts lands; 3 a state that is not what was known here is taken over before it is
changed: it is an own commit that nobody waited for; 4 a partition that is not open any more commits nothing:
its hand-over goes by what the store has.
"""

from collections.abc import Callable

import structlog
import trio

from libs.clients.metadata import MetadataClient, PartitionRecord
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.cluster import AssignmentState, PartitionState
from libs.model.errors import Corrupt, Fenced, KafscaleError, NotFound, Overloaded, Unavailable
from libs.model.ids import LeaderEpoch
from libs.objectstore.port import ObjectStore
from libs.segments.keys import ManifestName, manifest_key, segment_index_key, segment_key
from libs.segments.manifest import Manifest
from services.partition_owner.compaction.dropped import DroppedObjects
from services.partition_owner.manifests import read_manifest
from services.partition_owner.partition import Partition
from services.partition_owner.registry import moved

_BACKOFF = Backoff(first_seconds=0.1, max_seconds=5.0)

log = structlog.get_logger(__name__)

Change = Callable[[PartitionState], PartitionState]


class Committer:
    """Commits for the partitions of one owner."""

    def __init__(
        self, *, metadata: MetadataClient, store: ObjectStore, dropped: DroppedObjects, rand: Rand
    ) -> None:
        self._metadata = metadata
        self._store = store
        self._dropped = dropped
        self._rand = rand

    async def commit(self, partition: Partition, change: Change, manifest: Manifest | None = None) -> None:
        """Returns once the state that `change` makes of the present one is committed, and in force here.

        `manifest`: the one that the new state names, where that is a new one. `change` is called again where
        the state turns out to be another one; what it raises ends the commit.
        Raises Moved where the partition is not this owner's to change any more, Corrupt, Invalid.
        """
        async with partition.committing:
            record = partition.record or await self._read(partition)
            while True:
                await self._take_over(partition, record)
                state = _state(partition, record)
                wanted = change(state)
                if wanted == state:
                    return
                record = await self._send(partition, record, wanted)
                if record.state == wanted:
                    self._apply(partition, record, manifest)
                    return

    async def wait_held(self, partition: Partition) -> None:
        """Until the metadata store says that the partition is this owner's. Raises Moved where it is not."""
        await self._read(partition)

    async def _send(
        self, partition: Partition, record: PartitionRecord, wanted: PartitionState
    ) -> PartitionRecord:
        """What the store has once an attempt succeeded, or can't succeed any more."""
        failures = 0
        while True:
            self._check_open(partition)
            try:
                return await self._metadata.commit_partition(partition.tp, record, wanted)
            except NotFound as error:
                raise moved(partition.tp) from error
            except Fenced:
                return await self._read(partition)
            except (Unavailable, Overloaded) as error:
                failures += 1
                self._note(partition, failures, error)
                await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))
                if isinstance(error, Unavailable) and error.outcome_unknown:
                    read = await self._read(partition)
                    if _revisions(read) != _revisions(record):
                        return read

    async def _read(self, partition: Partition) -> PartitionRecord:
        """The record, as soon as somebody can tell. Raises Moved where the partition is another's by it."""
        failures = 0
        while True:
            self._check_open(partition)
            try:
                record = await self._metadata.get_partition(partition.tp)
            except NotFound as error:
                raise moved(partition.tp) from error
            except (Unavailable, Overloaded) as error:
                failures += 1
                self._note(partition, failures, error)
                await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))
                continue
            assigned = record.assignment
            held = (assigned.session, assigned.leader_epoch) == (partition.session, partition.leader_epoch)
            if not held or assigned.state is not AssignmentState.ASSIGNED:
                raise moved(partition.tp)
            return record

    def _check_open(self, partition: Partition) -> None:
        if not partition.appendable:
            raise moved(partition.tp)

    def _note(self, partition: Partition, failures: int, error: KafscaleError) -> None:
        log.info("commit_retried", tp=str(partition.tp), failures=failures, error=error.message)

    async def _take_over(self, partition: Partition, record: PartitionRecord) -> None:
        """Makes the partition what the store says that it is, where that is not what was known here."""
        state = _state(partition, record)
        if partition.record is not None and partition.record.state == state:
            partition.record = record
            return
        manifest = partition.manifest
        if state.manifest_key != _key_of(partition):
            log.info("commit_found", tp=str(partition.tp), manifest=state.manifest_key)
            manifest = await self._read_manifest(partition, state.manifest_key)
        self._apply(partition, record, manifest)

    async def _read_manifest(self, partition: Partition, key: str) -> Manifest:
        failures = 0
        while True:
            self._check_open(partition)
            try:
                return await read_manifest(self._store, key, partition.tp)
            except NotFound as error:
                raise Corrupt(f"the metadata store names {key}, which is gone") from error
            except Unavailable as error:
                failures += 1
                self._note(partition, failures, error)
                await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))

    def _apply(self, partition: Partition, record: PartitionRecord, manifest: Manifest | None) -> None:
        """Synchronous: between the new list and what it drops nobody reads."""
        before_key, before = _key_of(partition), partition.manifest
        state = _state(partition, record)
        try:
            partition.committed(record, manifest)
        except ValueError as error:
            raise Corrupt(f"{partition.tp} can't be what was committed: {error}") from error
        partition.first_seq = max(partition.first_seq, state.positions[-1].from_seq)
        if before is not None and before is not partition.manifest:
            keys = [before_key, *_dropped_segments(partition, before)]
            self._dropped.add(partition.tp, keys, now=trio.current_time())


def _state(partition: Partition, record: PartitionRecord) -> PartitionState:
    """Raises Corrupt: an open partition has a state that names its own position."""
    if record.state is None or not record.state.positions:
        raise Corrupt(f"{partition.tp} is open, and the metadata store does not know it")
    return record.state


def _revisions(record: PartitionRecord) -> tuple[int, int]:
    return record.assignment_revision, record.state_revision


def _key_of(partition: Partition) -> str:
    """Of the manifest in force here."""
    manifest = partition.manifest
    if manifest is None:
        return ""
    return manifest_key(partition.folder, ManifestName(LeaderEpoch(manifest.leader_epoch), manifest.n))


def _dropped_segments(partition: Partition, before: Manifest) -> list[str]:
    kept = {each.name for each in partition.log.segments}
    dropped = [each.name for each in before.segments if each.name not in kept]
    return [key(partition.folder, name) for name in dropped for key in (segment_key, segment_index_key)]
