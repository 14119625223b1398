"""What an owner reads from a copy of the bucket: what consumers ask for, nothing that decides."""

from trio.testing import MockClock

from libs.concurrency.rand import SeededRand
from libs.model.errors import NotFound, Reason
from libs.objectstore.read_bucket import ReadBucket
from libs.segments.keys import parse_chain_object_key
from tests.support.owners import batch, open_owner_cluster, tp_of
from tests.unit.services.partition_owner.compaction.support import (
    EAGER,
    HookedStore,
    read_from,
    wait_compacted,
)


class Copy:
    """A copy of what was stored when it last caught up."""

    def __init__(self, store: HookedStore) -> None:
        self._store = store
        self._keys: frozenset[str] = frozenset()
        self.given: list[str] = []
        self.missed: list[str] = []

    def catch_up(self) -> None:
        self._keys = frozenset(self._store.put_keys)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        if key not in self._keys:
            self.missed.append(key)
            raise NotFound("not yet", reason=Reason.NO_SUCH_OBJECT)
        self.given.append(key)
        return await self._store.get(key, start=start, length=length)


async def test_consumers_read_the_copy_and_takeovers_the_bucket(autojump_clock: MockClock) -> None:
    store = HookedStore()
    copy = Copy(store)
    reads = ReadBucket(bucket=store, copy=copy, rand=SeededRand(1))
    async with open_owner_cluster(store, []) as cluster:
        await cluster.start("a", options={"compaction_age_seconds": 10_000})
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(5):
            await appends.append(tp, epoch, batch(f"{number}"))
        expected = {number: f"{number}" for number in range(5)}
        copy.catch_up()
        await owner.kill()

        quiet = {"compaction_age_seconds": 10_000, "compaction_behind_seconds": 10_000}
        await cluster.start("b", reads=reads, options=quiet)
        owner, _ = await cluster.wait_open(tp)
        assert (copy.given, copy.missed) == ([], [])  # the chain was sealed, its end is the bucket's word
        assert await read_from(owner, tp, 0) == expected
        assert copy.given
        assert all(parse_chain_object_key(key) for key in copy.given)
        assert copy.missed == []
        copy.given.clear()
        await owner.kill()

        await cluster.start("c", reads=reads, options=EAGER)
        owner, _ = await cluster.wait_open(tp)
        await wait_compacted(owner)
        assert (copy.given, copy.missed) == ([], [])  # what is written back is read from the bucket
        assert await read_from(owner, tp, 0) == expected
        assert copy.given == []
        assert {key.rpartition(".")[2] for key in copy.missed} == {"index", "kfs"}
        copy.catch_up()
        await owner.kill()

        await cluster.start("d", reads=reads, options=EAGER)
        owner, _ = await cluster.wait_open(tp)
        assert await read_from(owner, tp, 0) == expected
        assert {key.rpartition(".")[2] for key in copy.given} == {"index", "kfs"}
