"""Rebuilds the metadata store from the bucket: seal every session, read everything, decide, write.

Owns: the order. Does not own: the decisions (restored.py), the store (target.py), sealing (the partition
owner's Sealer), reading (chains.py, folders.py, meta.py).
Rules: 1 every session found is sealed before its data is read, so that a forgotten owner can't append to
what was counted; 2 a bucket of which data is missing is refused, unless it was said that the rest will do;
3 nothing in the bucket changes but seals.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import trio

from libs.clients.metadata import MetadataClient
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.model.errors import Corrupt, Invalid
from libs.model.ids import OwnerId, SessionId, TopicPartition
from libs.objectstore.port import ObjectInfo, ObjectStore
from libs.segments.keys import (
    META_PREFIX,
    SNAPSHOTS_PREFIX,
    PartitionFolder,
    parse_chain_index_key,
    parse_chain_object_key,
    parse_manifest_key,
    session_prefix,
    snapshot_key,
)
from libs.segments.marker import greatest_start
from services.metadata.kv.port import KV
from services.partition_owner.collection.decide import folder_of
from services.partition_owner.parallel import for_each
from services.partition_owner.sealing import Sealer
from services.partition_owner.store_id import find_store_id
from tools.bucket.chains import verify_chain
from tools.bucket.folders import verify_folder
from tools.bucket.known import known_from, read_known
from tools.bucket.listing import chain_groups, data_objects
from tools.bucket.meta import Meta, verify_meta
from tools.bucket.partitions import Found
from tools.bucket.restored import Restored, restored
from tools.bucket.snapshots import Snapshot, Snapshots, choose_and_read
from tools.bucket.target import KvSource, check_unused, close, empty, fill
from tools.bucket.work import Options, Progress, Work

SEALER = OwnerId("rebuild")
_CHAINS_AT_ONCE_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildOptions:
    """`at_ms`: groups, offsets and configs as they were then; None: as of the newest snapshot.

    `overwrite`: empty a store that has something. `accept_loss`: restore what there is of a damaged bucket.
    `without_snapshot`: groups and offsets are given up.
    """

    at_ms: int | None = None
    overwrite: bool = False
    accept_loss: bool = False
    without_snapshot: bool = False
    gets_max: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was written, from what. `problems`: of the bucket's objects, where loss was accepted."""

    restored: Restored
    snapshot: Snapshot | None
    sessions: int
    seconds: float
    problems: tuple[str, ...] = ()


async def rebuild(
    store: ObjectStore,
    kv: KV,
    *,
    options: RebuildOptions,
    clock: Clock,
    rand: Rand,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Rebuilt:
    """Fills the metadata store from the bucket alone. Every service has to be stopped.

    Raises Invalid where the store is in use or not empty, Corrupt where data is missing from the bucket (and
    that was not accepted), Unavailable. After an error of the last step every service refuses the store,
    until a rebuild with `overwrite` succeeds.
    """
    began_at = trio.current_time()
    found_keys = await check_unused(kv)
    if found_keys and not options.overwrite:
        raise Invalid(f"the metadata store has {found_keys} keys: say --overwrite to give them up")
    snapshots = (
        Snapshots()
        if options.without_snapshot
        else await choose_and_read(store, at_ms=options.at_ms, accept_loss=options.accept_loss, tell=tell)
    )
    snapshot = snapshots.as_of
    tell(
        "no snapshot: groups and offsets begin anew"
        if snapshot is None
        else f"groups and offsets are those of {snapshot_key(snapshot.name)}"
    )
    work = Work(store, Options(gets_max=options.gets_max, sample=0.0), progress or Progress())
    named = await _named(kv, snapshots, tell)
    found, meta = await _read(work, clock, rand, tell, named=named, accept_loss=options.accept_loss)
    problems = (*_problems(work, found), *snapshots.lost)
    result = restored(
        meta,
        found,
        snapshot,
        newest=snapshots.newest,
        now_ms=clock.now_ms(),
        # Any sealed session will do; one that there is needs no chain of its own.
        recovery_session=min(_with_data(found), default=SessionId(rand.uuid())),
        as_of_snapshot=options.at_ms is not None,
    )
    for note in result.notes:
        tell(note)
    if (problems or result.damaged) and not options.accept_loss:
        raise _refused((*problems, *result.damaged))
    store_id = await find_store_id(store)
    guard = await close(kv, overwrite=options.overwrite, store_id=store_id)
    if found_keys:
        await empty(kv, guard)
    await fill(kv, result, guard, store_id=store_id)
    return Rebuilt(
        restored=result,
        snapshot=snapshot,
        sessions=len(found.chains),
        seconds=trio.current_time() - began_at,
        problems=(*problems, *result.damaged),
    )


def _with_data(found: Found) -> list[SessionId]:
    return [chain.session for chain in found.chains.values() if chain.start < chain.end]


def _problems(work: Work, found: Found) -> tuple[str, ...]:
    """Of data: a damaged snapshot that is not taken loses none, nor a manifest that a newer one replaced."""
    return tuple(
        str(each)
        for each in work.findings
        if not each.where.startswith(SNAPSHOTS_PREFIX) and not _is_replaced(each.where, found)
    )


def _is_replaced(key: str, found: Found) -> bool:
    parsed = parse_manifest_key(key)
    folder = None if parsed is None else found.folders.get(TopicPartition(*parsed[0][1:]))
    newest = None if folder is None else folder.newest_whole()
    return parsed is not None and newest is not None and parsed[1] < newest.name


def _refused(problems: Sequence[str]) -> Corrupt:
    listed = "\n  ".join(problems)
    return Corrupt(
        "something is damaged or missing; nothing was written to the metadata store; --accept-loss restores"
        f" what is left:\n  {listed}"
    )


async def _named(kv: KV, snapshots: Snapshots, tell: Callable[[str], None]) -> set[SessionId]:
    """Sessions that a snapshot or the store itself names: one may have opened partitions and written
    nothing yet, and must be sealed like the others.
    """
    found: set[SessionId] = set()
    for snapshot in (snapshots.as_of, snapshots.newest):
        if snapshot is not None:
            found |= known_from(snapshot.entries, snapshot.name.revision).sessions_named()
    try:
        found |= (await read_known(KvSource(kv))).sessions_named()
    except Corrupt as error:
        tell(f"the metadata store can't be read, and is not needed: {error.message}")
    return found


async def _sessions(work: Work) -> list[SessionId]:
    """Every session, once its chain was looked at where its LIST has a gap.

    A seal ends a chain at its first gap, for ever: what is beyond would be void without a word. So a gap that
    can't be one of writes in flight is found before.
    """
    sessions: list[SessionId] = []
    async for session, objects in chain_groups(work):
        sessions.append(session)
        start = greatest_start(info.key for info in objects)
        places = [place.seq for info in objects if (place := parse_chain_object_key(info.key)) is not None]
        beyond = [seq for seq in places if seq >= start]
        indexed = any(parse_chain_index_key(info.key) is not None for info in objects)
        if indexed or (beyond and len(beyond) != max(beyond) + 1 - start):
            await verify_chain(work, session, objects)
    return sessions


async def _read(
    work: Work,
    clock: Clock,
    rand: Rand,
    tell: Callable[[str], None],
    *,
    named: Collection[SessionId],
    accept_loss: bool,
) -> tuple[Found, Meta]:
    """Raises Corrupt where a chain has lost something, before anything is sealed."""
    found = Found()
    sessions = await _sessions(work)
    if work.findings and not accept_loss:
        raise _refused(_problems(work, found))
    sessions += sorted(set(named) - set(sessions))
    tell(f"sealing {len(sessions)} sessions")
    ends = await _seal(work.store, sessions, clock, rand)

    async def read(session: SessionId) -> None:
        objects = [info async for info in work.objects(session_prefix(session))]
        chain = found.chains[session] = await verify_chain(work, session, objects)
        if chain.end != ends[session]:
            work.error(
                "missing", session_prefix(session), f"it ends at {ends[session]}, found to {chain.end}"
            )

    tell("reading chains")
    work.progress.phase = "chains"
    await for_each(sessions, read, at_once_max=_CHAINS_AT_ONCE_MAX)
    tell("reading partitions")
    work.progress.phase = "partitions"
    name: PartitionFolder | None = None
    folder_objects: list[ObjectInfo] = []
    async for info in data_objects(work):
        each = folder_of(info.key)
        if each is None:
            continue
        if each != name:
            await _folder(work, found, name, folder_objects)
            name, folder_objects = each, []
        folder_objects.append(info)
    await _folder(work, found, name, folder_objects)
    return found, await verify_meta(work, META_PREFIX)


async def _folder(work: Work, found: Found, name: PartitionFolder | None, objects: list[ObjectInfo]) -> None:
    if name is not None:
        folder = await verify_folder(work, name, objects)
        found.folders[TopicPartition(name.topic_id, name.partition)] = folder


async def _seal(
    store: ObjectStore, sessions: list[SessionId], clock: Clock, rand: Rand
) -> dict[SessionId, int]:
    """Ends every chain, and says where. The end of a chain that has one is found, and stays."""
    ends: dict[SessionId, int] = {}
    own = SessionId(rand.uuid())
    async with trio.open_nursery() as nursery:
        sealer = Sealer(
            store=store,
            metadata=MetadataClient([]),  # nobody is to be told: all services are stopped
            owner_id=SEALER,
            clock=clock,
            rand=rand,
            nursery=nursery,
            on_footer=lambda _footer: None,
        )

        async def seal(session: SessionId) -> None:
            ends[session] = (await sealer.seal(session, by=own)).end

        await for_each(sessions, seal, at_once_max=_CHAINS_AT_ONCE_MAX)
        nursery.cancel_scope.cancel()
    return ends
