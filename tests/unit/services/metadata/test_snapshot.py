"""The Snapshot RPC: what is worth keeping, of one revision, in bounded parts."""

from collections.abc import Sequence

import pytest

from libs.clients.metadata import TopicToCreate
from libs.model.errors import Fenced
from libs.model.ids import Revision, TopicName
from libs.segments.snapshot import SnapshotEntry
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Put, RangeResult
from services.metadata.snapshot import PART_BYTES, Part, snapshot
from tests.support.metadata import MetadataCluster, open_metadata_cluster


class CompactingKV(MemoryKV):
    """Forgets its history after each page."""

    def __init__(self, inner: MemoryKV) -> None:
        super().__init__()
        self._inner = inner

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 1000, revision: Revision | None = None
    ) -> RangeResult:
        page = await self._inner.range(prefix, start_after=start_after, limit=limit, revision=revision)
        await self._inner.compact(await put(self._inner, ("topics/c", b"v")))
        return page


async def put(kv: MemoryKV, *items: tuple[str, bytes]) -> Revision:
    return (await kv.txn([], [Put(key=key, value=value) for key, value in items])).revision


async def taken(kv: MemoryKV, *, unless: int = 0, with_live: bool = False) -> list[SnapshotEntry]:
    return [
        entry async for part in snapshot(kv, Revision(unless), with_live=with_live) for entry in part.entries
    ]


async def test_what_stands_on_a_lease_is_left_out_and_the_rest_is_in_order() -> None:
    kv = MemoryKV()
    kept = ["assignments/x/0", "broker_ids/1", "cluster", "deleting/x", "groups/g", "offsets/g/x/0"]
    kept += ["partitions/x/0", "producer_ids/next", "topics/a", "topics/b"]
    live = ["owners/o", "sessions/s"]
    await put(
        kv, *((key, b"v") for key in (*reversed(kept), *live, "gateways/g", "replicas/r", "controller"))
    )
    assert [entry.key for entry in await taken(kv)] == kept
    assert [entry.key for entry in await taken(kv, with_live=True)] == sorted(kept + live)


async def test_all_parts_are_of_one_revision_though_the_store_goes_on() -> None:
    kv = MemoryKV()
    revisions = [await put(kv, (f"groups/{number}", bytes(PART_BYTES // 2))) for number in range(5)]
    parts: list[Part] = []
    async for part in snapshot(kv, Revision(0), with_live=False):
        await put(kv, ("groups/4", b"changed"), (f"topics/{len(parts)}", b"new"))
        parts.append(part)
    assert {part.revision for part in parts} == {revisions[-1]}
    entries = [entry for part in parts for entry in part.entries]
    assert [(entry.key, len(entry.value), entry.mod_revision) for entry in entries] == [
        (f"groups/{number}", PART_BYTES // 2, revision) for number, revision in enumerate(revisions)
    ]
    assert all(sum(entry.size_bytes for entry in part.entries) <= PART_BYTES for part in parts)


async def test_nothing_is_sent_where_nothing_changed() -> None:
    kv = MemoryKV()
    revision = await put(kv, ("topics/a", b"v"))
    (part,) = [part async for part in snapshot(kv, revision, with_live=False)]
    assert (part.revision, part.entries) == (revision, ())


async def test_a_revision_that_is_compacted_meanwhile_ends_it() -> None:
    kv = MemoryKV()
    await put(kv, ("assignments/x/0", b"v"), ("topics/a", bytes(PART_BYTES)), ("topics/b", b"v"))
    with pytest.raises(Fenced):
        async for _ in snapshot(CompactingKV(kv), Revision(0), with_live=False):
            pass


async def test_the_client_gets_it_over_the_wire(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m") as cluster, cluster.client() as client:
        await client.create_topics(
            [TopicToCreate(name=TopicName("orders"), partitions=1, configs={})],
            validate_only=False,
            timeout_seconds=0,
        )
        entries: list[SnapshotEntry] = []

        async def take(_revision: Revision, some: Sequence[SnapshotEntry]) -> None:
            entries.extend(some)

        revision = await client.snapshot(take)
        assert [entry.key for entry in entries] == ["cluster", "topics/orders"]
        assert await stays(cluster, revision)
        entries.clear()
        assert await client.snapshot(take, unless_revision=revision) == revision
        assert not entries


async def stays(cluster: MetadataCluster, revision: Revision) -> bool:
    return (await cluster.kv.range("cluster")).revision == revision
