"""Compaction on the real stores: megabytes in many small pieces, written, merged, and read back."""

from libs.objectstore.port import ObjectStore
from tests.support.owners import batch, open_owner_cluster, tp_of
from tests.support.producing import read_all
from tests.unit.services.partition_owner.compaction.support import EAGER, compaction, wait_compacted

TOPIC = "x" * 249
"""The longest name: its folder is cut, because MinIO refuses path components of more than 255 bytes."""


async def test_on_a_directory(directory_store: ObjectStore) -> None:
    await write_merge_and_read(directory_store)


async def test_on_minio(s3_store: ObjectStore) -> None:
    await write_merge_and_read(s3_store)


async def write_merge_and_read(store: ObjectStore) -> None:
    async with open_owner_cluster(store, []) as cluster:
        await cluster.start("a", options={**EAGER, "compaction_age_seconds": 0.2})
        tp = tp_of(await cluster.create_topic(TOPIC))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        values = [f"{number}".ljust(20_000) for number in range(200)]
        for begin in (0, 100):
            keys = [appends.send(tp, epoch, batch(value)) for value in values[begin : begin + 100]]
            for key in keys:
                await appends.outcome(key)
            await wait_compacted(owner)
        await wait_compacted(owner, segments=1)
        assert compaction(owner).counts.merges >= 1
        assert await read_all(owner, tp) == values
