"""The metadata store that is rebuilt: that it is nobody's now, and how it is filled.

Owns: emptying and filling it through the KV port, saying which object store it belongs to. Does not own: what
is written (restored.py).
Rules: 1 a store with a live registration is refused: somebody uses it; 2 the cluster's record is written
first, before anything is deleted, with a format that every metadata replica refuses to start on, and rightly
at the very end: so nobody ever sees a store that is half emptied or half filled; 3 what was there is only
deleted when it was said so.
"""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from libs.clients.metadata import NO_REVISION
from libs.model.errors import Invalid, Unavailable
from libs.model.ids import Revision, StoreId
from libs.segments.snapshot import SnapshotEntry
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, stored
from services.metadata.cluster_info import BEING_REBUILT
from services.metadata.kv.port import ABSENT, KV, Delete, ModRevisionIs, Put
from services.metadata.snapshot import snapshot
from services.metadata.writes import write
from tools.bucket.restored import Restored

_OPS_PER_TXN = 100
_TXN_BYTES = 512 * 1024
_PAGE_ITEMS = 200
_LIVE = (keys.OWNERS, keys.GATEWAYS, keys.REPLICAS, keys.CONTROLLER)


class KvSource:
    """A store as a `SnapshotSource`: what `MetadataClient.snapshot` tells, without the service."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def snapshot(
        self,
        take: Callable[[Revision, Sequence[SnapshotEntry]], Awaitable[None]],
        *,
        unless_revision: Revision = NO_REVISION,
        with_live: bool = False,
    ) -> Revision:
        revision = NO_REVISION
        async for part in snapshot(self._kv, unless_revision, with_live=with_live):
            revision = part.revision
            if part.entries:
                await take(revision, part.entries)
        return revision


async def check_unused(kv: KV) -> int:
    """How many keys there are. Raises Invalid where a service is registered."""
    for prefix in _LIVE:
        page = await kv.range(prefix, limit=1)
        if page.items:
            raise Invalid(
                f"{page.items[0].key} is registered in the metadata store: stop every service first,"
                " and wait for a lease"
            )
    count, start_after, more = 0, "", True
    while more:
        page = await kv.range("", start_after=start_after, limit=_PAGE_ITEMS)
        count += len(page.items)
        more = page.more
        start_after = page.items[-1].key if page.items else ""
    return count


async def close(kv: KV, *, overwrite: bool, store_id: StoreId | None) -> ModRevisionIs:
    """Marks the store so that no replica starts on it; gives what every write compares from now on.

    Raises Invalid where there is a cluster that is not to be overwritten, or whose records are in another
    object store than `store_id`; Unavailable.
    """
    before = await kv.get(keys.CLUSTER) if overwrite else None
    if before is not None and store_id is not None:
        other = stored.parse(messages.ClusterInfo, before).store_id
        if other not in (b"", store_id.bytes):
            raise Invalid(
                f"the records of this cluster are in object store {UUID(bytes=other)}, this is {store_id}:"
                " check the bucket and its namespace; if they are here, run adopt first"
            )
    mark = messages.ClusterInfo(format_version=BEING_REBUILT).SerializeToString()
    revision = await write(
        kv,
        [ModRevisionIs(key=keys.CLUSTER, revision=ABSENT if before is None else before.mod_revision)],
        [Put(key=keys.CLUSTER, value=mark)],
    )
    if revision is None:
        raise Invalid("the metadata store has a cluster already: was a service started meanwhile?")
    return ModRevisionIs(key=keys.CLUSTER, revision=revision)


async def empty(kv: KV, guard: ModRevisionIs) -> None:
    """Deletes every key but the mark. Raises Invalid where somebody else wrote meanwhile, Unavailable."""
    start_after, more = "", True
    while more:
        page = await kv.range("", start_after=start_after, limit=_OPS_PER_TXN)
        more = page.more
        start_after = page.items[-1].key if page.items else ""
        gone = [Delete(key=item.key) for item in page.items if item.key != keys.CLUSTER]
        if gone and not (await kv.txn([guard], gone)).succeeded:
            raise _meanwhile()


async def adopt(kv: KV, store_id: StoreId | None) -> None:
    """Says that the cluster's records are in this store; None: the next first owner says it. Raises Invalid
    where a service is registered or there is no cluster, Unavailable.
    """
    await check_unused(kv)
    before = await kv.get(keys.CLUSTER)
    if before is None:
        raise Invalid("the metadata store has no cluster: start the services, or rebuild it")
    put = Put(key=keys.CLUSTER, value=_of_store(before.value, store_id))
    if await write(kv, [ModRevisionIs(key=keys.CLUSTER, revision=before.mod_revision)], [put]) is None:
        raise _meanwhile()


def _of_store(cluster: bytes, store_id: StoreId | None) -> bytes:
    info = messages.ClusterInfo.FromString(cluster)
    info.store_id = b"" if store_id is None else store_id.bytes
    return info.SerializeToString()


async def fill(kv: KV, restored: Restored, guard: ModRevisionIs, *, store_id: StoreId | None) -> None:
    """Writes everything; `store_id` is the store's that it was read from.

    Raises Invalid where somebody else wrote meanwhile, Unavailable.
    """
    batch: list[Put] = []
    size_bytes = 0
    for put in restored.puts:
        if batch and (len(batch) == _OPS_PER_TXN or size_bytes + len(put.value) > _TXN_BYTES):
            await _write(kv, guard, batch)
            batch, size_bytes = [], 0
        batch.append(put)
        size_bytes += len(put.key) + len(put.value)
    if batch:
        await _write(kv, guard, batch)
    await check_unused(kv)
    last: Put | Delete = Delete(key=keys.CLUSTER)
    if restored.cluster is not None:
        last = Put(key=keys.CLUSTER, value=_of_store(restored.cluster, store_id))
    if not (await kv.txn([guard], [last])).succeeded:
        raise _meanwhile()


async def _write(kv: KV, guard: ModRevisionIs, batch: Sequence[Put]) -> None:
    try:
        revision = await write(kv, [guard], batch)
    except Unavailable as error:
        if not error.outcome_unknown:
            raise
        revision = await write(kv, [guard], batch)  # the same keys and values: once more does no harm
    if revision is None:
        raise _meanwhile()


def _meanwhile() -> Invalid:
    return Invalid("somebody else wrote to the metadata store meanwhile: stop every service, and begin anew")
