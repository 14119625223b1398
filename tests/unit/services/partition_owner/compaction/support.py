"""Owners that compact eagerly, and stores that let a test act at each of compaction's steps."""

from collections.abc import Awaitable, Callable, Sequence

import trio

from libs.clients.owner import OwnerClient, RecordDeletion
from libs.concurrency.clock import LoopClock
from libs.model.errors import KafscaleError
from libs.model.ids import Offset, TopicPartition
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import Body, PutResult
from libs.records import iter_batches
from libs.rpc import memory_channel
from services.partition_owner.compaction.service import CompactionStatistics
from tests.support.owners import EPOCH_MS, OwnerCluster, RunningOwner, fetch, part
from tests.support.records import decode_batch

EAGER = {
    "compaction_age_seconds": 2.0,
    "compaction_behind_seconds": 1.0,
    "compaction_check_seconds": 0.25,
    "compaction_merge_factor": 2,
    "retention_check_seconds": 5.0,
}
"""Options of owners that compact what is two seconds old."""

Hook = Callable[[str], Awaitable[None]]


class HookedStore(MemoryObjectStore):
    """Calls `before` and `after` with the key of each conditional PUT."""

    def __init__(self) -> None:
        super().__init__(LoopClock(EPOCH_MS))
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.put_keys: list[str] = []
        self.before_get: Hook | None = None

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        if self.before_get is not None:
            await self.before_get(key)
        return await super().get(key, start=start, length=length)

    async def put_if_absent(self, key: str, body: Body) -> PutResult:
        if self.before is not None:
            await self.before(key)
        result = await super().put_if_absent(key, body)
        self.put_keys.append(key)
        if self.after is not None:
            await self.after(key)
        return result

    def compacted_keys(self, suffixes: Sequence[str] = (".kfs", ".index", ".kfm")) -> list[str]:
        """What compaction wrote, in order."""
        return [key for key in self.put_keys if key.endswith(tuple(suffixes))]


def compaction(owner: RunningOwner) -> CompactionStatistics:
    return owner.service.statistics().compaction


async def wait_compacted(owner: RunningOwner, *, segments: int | None = None) -> CompactionStatistics:
    """Once everything is in segments, and there are so many of them."""
    with trio.fail_after(600):
        while True:
            found = compaction(owner)
            if not found.uncompacted_bytes and (segments is None or found.segments == segments):
                return found
            await trio.sleep(0.1)


async def delete_records(owner: RunningOwner, tp: TopicPartition, before: int) -> Offset | KafscaleError:
    async with memory_channel(owner.server) as channel:
        deletion = RecordDeletion(at=tp, before_offset=before)
        return (await OwnerClient(channel).delete_records([deletion], timeout_seconds=30.0))[0]


async def read_from(owner: RunningOwner, tp: TopicPartition, start: int) -> dict[int, str]:
    """Every value by its offset, from `start` to the high watermark."""
    values: dict[int, str] = {}
    following = start
    while True:
        (found,) = await fetch(owner, part(tp, following), max_wait_ms=0)
        if found.error is not None:
            raise found.error
        if not found.records:
            assert found.high_watermark == following
            return values
        for each in iter_batches(found.records):
            for offset, record in decode_batch(each.data):
                if offset >= following:
                    assert offset == following, "a hole"
                    values[offset] = (record.value or b"").decode()
                    following += 1


async def restart(cluster: OwnerCluster, owner: RunningOwner, name: str) -> None:
    """Another owner, eager as well, in the place of a killed one."""
    await owner.kill()
    await cluster.start(name, options=EAGER)
