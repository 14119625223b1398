"""Any sequence of operations means the same on every store as on the one in memory, the model."""

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.concurrency.rand import SystemRand
from libs.model.errors import Fenced
from libs.model.ids import Revision
from services.metadata.kv.etcd import open_etcd_kv
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import (
    ABSENT,
    KV,
    Delete,
    KeyValue,
    LeaseId,
    ModRevisionIs,
    Put,
    WatchBatch,
)
from services.metadata.kv.sqlite import open_sqlite_kv
from tests.support.servers import Etcd

KEYS = ("a", "a/1", "a/2", "a/é", "b", "b/1")
PREFIXES = ("", "a", "a/", "b", "c")

ops = st.lists(
    st.one_of(
        st.builds(
            lambda key, value, leased: ("put", key, value, leased),
            st.sampled_from(KEYS),
            st.binary(max_size=3),
            st.booleans(),
        ),
        st.builds(lambda key: ("delete", key), st.sampled_from(KEYS)),
    ),
    max_size=4,
    unique_by=lambda op: op[1],
)
guards = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(["right", "absent", "old"])), max_size=2)
commands = st.lists(
    st.one_of(
        st.tuples(st.just("txn"), guards, ops),
        st.tuples(st.just("get"), st.sampled_from(KEYS)),
        st.tuples(
            st.just("range"),
            st.sampled_from(PREFIXES),
            st.sampled_from(["", *KEYS]),
            st.integers(1, 4),
            st.one_of(st.none(), st.integers(0, 20)),
        ),
        st.tuples(st.just("revoke")),
        st.tuples(st.just("compact"), st.integers(0, 20)),
    ),
    max_size=25,
)


class Machine:
    """One store under a sequence; revisions are told from where it began."""

    def __init__(self, kv: KV) -> None:
        self.kv = kv
        self.begin = Revision(0)
        self.revisions: list[Revision] = []
        self.lease = LeaseId(0)
        self.leases: dict[LeaseId, int] = {}
        self.old: dict[str, Revision] = {}

    async def start(self) -> None:
        self.begin = (await self.kv.range("")).revision
        self.revisions = [self.begin]
        await self._new_lease()

    async def _new_lease(self) -> None:
        self.lease = await self.kv.grant_lease(ttl_seconds=600)
        self.leases[self.lease] = len(self.leases)

    async def run(self, command: tuple[object, ...]) -> object:
        name, *rest = command
        result: object = await getattr(self, f"_{name}")(*rest)
        return result

    async def _txn(self, guards: list[tuple[str, str]], ops: list[tuple[object, ...]]) -> object:
        compares = [ModRevisionIs(key=key, revision=await self._guard(key, kind)) for key, kind in guards]
        made: list[Put | Delete] = []
        for kind, key, *rest in ops:
            assert isinstance(key, str)
            if kind == "put":
                value, leased = rest
                assert isinstance(value, bytes)
                made.append(Put(key=key, value=value, lease_id=self.lease if leased else None))
            else:
                made.append(Delete(key=key))
        result = await self.kv.txn(compares, made)
        if result.revision > self.revisions[-1]:
            self.revisions.append(result.revision)
        return result.succeeded, result.revision - self.begin

    async def _guard(self, key: str, kind: str) -> Revision:
        item = await self.kv.get(key)
        now = ABSENT if item is None else item.mod_revision
        if kind == "right":
            self.old[key] = now
            return now
        return ABSENT if kind == "absent" else self.old.get(key, ABSENT)

    async def _get(self, key: str) -> object:
        item = await self.kv.get(key)
        return None if item is None else self._shown(item)

    async def _range(self, prefix: str, start_after: str, limit: int, back: int | None) -> object:
        revision = None if back is None else self.revisions[-1 - back % len(self.revisions)]
        try:
            page = await self.kv.range(prefix, start_after=start_after, limit=limit, revision=revision)
        except Fenced:
            return "compacted"
        return [self._shown(item) for item in page.items], page.more, page.revision - self.begin

    async def _revoke(self) -> object:
        await self.kv.revoke_lease(self.lease)
        await self._new_lease()
        now = (await self.kv.range("")).revision
        if now > self.revisions[-1]:
            self.revisions.append(now)
        return now - self.begin

    async def _compact(self, back: int) -> None:
        if len(self.revisions) > 1:
            await self.kv.compact(self.revisions[-1 - back % (len(self.revisions) - 1)])

    async def history(self) -> tuple[int, list[object]]:
        """All changes since the beginning, or since a revision that is not compacted."""
        for start in self.revisions:
            wanted = self.revisions[-1] - start
            try:
                return int(start - self.begin), await self._changes_since(start, int(wanted))
            except Fenced:
                continue
        raise AssertionError("the newest revision is never compacted")

    async def _changes_since(self, start: Revision, count: int) -> list[object]:
        found: list[object] = []
        with trio.fail_after(20):
            async with self.kv.watch("", after_revision=start) as batches:
                while len(found) < count:
                    batch = await anext(batches)
                    if batch.events:
                        found.append(self._batch(batch))
        return found

    def _batch(self, batch: WatchBatch) -> object:
        events = {
            event.key: self._shown(event) if isinstance(event, KeyValue) else None for event in batch.events
        }
        return batch.revision - self.begin, events

    def _shown(self, item: KeyValue) -> object:
        lease = None if item.lease_id is None else self.leases[item.lease_id]
        return item.key, item.value, item.create_revision - self.begin, item.mod_revision - self.begin, lease


OpenKV = Callable[[], AbstractAsyncContextManager[KV]]


def _agree(open_kv: OpenKV, sequence: list[tuple[object, ...]]) -> None:
    async def compare() -> None:
        async with open_kv() as real:
            model, machine = Machine(MemoryKV()), Machine(real)
            await model.start()
            await machine.start()
            for command in sequence:
                expected = await model.run(command)
                assert await machine.run(command) == expected, command
            # How far back a store remembers after a compaction may differ by what it need not forget.
            since, changes = await model.history()
            real_since, real_changes = await machine.history()
            assert real_since <= since
            assert real_changes[len(real_changes) - len(changes) :] == changes

    trio.run(compare)


@given(commands)
@settings(max_examples=60, deadline=None)
def test_sqlite_agrees_with_the_model(sequence: list[tuple[object, ...]]) -> None:
    @asynccontextmanager
    async def open_kv() -> AsyncIterator[KV]:
        with tempfile.TemporaryDirectory() as folder:
            async with open_sqlite_kv(Path(folder)) as kv:
                yield kv

    _agree(open_kv, sequence)


@given(sequence=commands)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_etcd_agrees_with_the_model(etcd: Etcd, sequence: list[tuple[object, ...]]) -> None:
    @asynccontextmanager
    async def open_kv() -> AsyncIterator[KV]:
        cluster = f"test-{SystemRand().uuid()}"
        async with open_etcd_kv([etcd.endpoint], cluster=cluster, rand=SystemRand()) as kv:
            yield kv

    _agree(open_kv, sequence)


@pytest.mark.parametrize("seed", range(3))
def test_the_model_agrees_with_itself(seed: int) -> None:
    """The comparison itself does not depend on where revisions and leases begin."""

    @asynccontextmanager
    async def open_kv() -> AsyncIterator[KV]:
        kv = MemoryKV()
        for _ in range(seed):
            await kv.txn([], [Put(key="z", value=b"")])
            await kv.grant_lease(ttl_seconds=600)
        await kv.txn([], [Delete(key="z")])
        yield kv

    sequence: list[tuple[object, ...]] = [
        ("txn", [("a", "absent")], [("put", "a", b"1", True), ("put", "b", b"2", False)]),
        ("txn", [("a", "absent")], [("delete", "b")]),
        ("range", "", "", 1, None),
        ("revoke",),
        ("range", "", "", 4, 1),
        ("compact", 0),
        ("get", "a"),
    ]
    _agree(open_kv, sequence)
