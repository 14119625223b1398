"""What every store promises (services/metadata/kv/port.py), case by case."""

from collections.abc import AsyncIterator, Sequence

import pytest
import trio

from libs.model.errors import Fenced, Invalid, NotFound, Reason
from libs.model.ids import Revision
from libs.model.limits import TXN_OPERATIONS_MAX, VALUE_BYTES_MAX
from services.metadata.kv.port import (
    ABSENT,
    KV,
    Delete,
    Deleted,
    KeyValue,
    LeaseId,
    ModRevisionIs,
    Put,
    WatchBatch,
)

# The shortest that the test's etcd grants.
TTL_SECONDS = 1.0


async def put(kv: KV, key: str, value: bytes = b"v", lease_id: LeaseId | None = None) -> Revision:
    result = await kv.txn([], [Put(key=key, value=value, lease_id=lease_id)])
    assert result.succeeded
    return result.revision


async def revision_of(kv: KV) -> Revision:
    return (await kv.range("")).revision


async def changes(batches: AsyncIterator[WatchBatch], count: int) -> list[WatchBatch]:
    """The next `count` batches that change something."""
    found: list[WatchBatch] = []
    with trio.fail_after(30):
        while len(found) < count:
            batch = await anext(batches)
            if batch.events:
                found.append(batch)
    return found


def shown(batch: WatchBatch) -> list[tuple[str, bytes | None]]:
    return [(event.key, event.value if isinstance(event, KeyValue) else None) for event in batch.events]


def keys_of(items: Sequence[KeyValue]) -> list[str]:
    return [item.key for item in items]


async def test_a_key_has_the_revisions_of_its_first_and_last_change(kv: KV) -> None:
    assert await kv.get("a") is None
    first = await put(kv, "a", b"1")
    second = await put(kv, "a", b"2")
    assert second == first + 1
    item = await kv.get("a")
    assert item == KeyValue(key="a", value=b"2", create_revision=first, mod_revision=second)
    await kv.txn([], [Delete(key="a")])
    assert await kv.get("a") is None
    again = await put(kv, "a", b"")
    item = await kv.get("a")
    assert item is not None
    assert (item.create_revision, item.mod_revision, item.value) == (again, again, b"")


async def test_guards_hold_or_nothing_is_written(kv: KV) -> None:
    created = await kv.txn([ModRevisionIs(key="a", revision=ABSENT)], [Put(key="a", value=b"1")])
    assert created.succeeded
    refused = await kv.txn(
        [ModRevisionIs(key="a", revision=ABSENT)], [Put(key="a", value=b"2"), Put(key="b", value=b"2")]
    )
    assert not refused.succeeded
    assert refused.revision == created.revision
    assert keys_of((await kv.range("")).items) == ["a"]
    both = [ModRevisionIs(key="a", revision=created.revision), ModRevisionIs(key="b", revision=ABSENT)]
    moved = await kv.txn(both, [Delete(key="a"), Put(key="b", value=b"3")])
    assert moved.succeeded
    assert moved.revision == created.revision + 1
    assert keys_of((await kv.range("")).items) == ["b"]


async def test_deleting_what_is_not_there_changes_nothing(kv: KV) -> None:
    before = await put(kv, "a")
    result = await kv.txn([], [Delete(key="x")])
    assert result.succeeded
    assert result.revision == before
    assert await revision_of(kv) == before


async def test_what_no_store_takes_is_refused(kv: KV) -> None:
    many = [Put(key=f"k{number}", value=b"") for number in range(TXN_OPERATIONS_MAX + 1)]
    assert (await kv.txn([], many[:-1])).succeeded
    for ops in (
        many,
        [Put(key="a", value=b"1"), Put(key="a", value=b"2")],
        [Put(key="a", value=b"x" * (VALUE_BYTES_MAX + 1))],
    ):
        with pytest.raises(Invalid):
            await kv.txn([], ops)
    assert (await kv.txn([], [Put(key="a", value=b"x" * VALUE_BYTES_MAX)])).succeeded


async def test_ranges_are_ordered_paged_and_of_one_revision(kv: KV) -> None:
    names = ["p/a", "p/a/b", "p/b", "p/é", "p/\U0001f600", "p/z"]
    for name in reversed(names):
        last = await put(kv, name)
    await put(kv, "p", b"outside")
    await put(kv, "q/", b"outside")
    in_order = sorted(names, key=lambda name: name.encode())
    found: list[str] = []
    start_after, more = "", True
    pages = 0
    while more:
        page = await kv.range("p/", start_after=start_after, limit=4, revision=last)
        if pages == 0:
            await put(kv, "p/b2", b"later")  # not of that revision
            await kv.txn([], [Delete(key="p/z")])
        found.extend(keys_of(page.items))
        start_after, more = found[-1], page.more
        pages += 1
    assert found == in_order
    assert pages == 2
    now = keys_of((await kv.range("p/")).items)
    assert now == sorted({*in_order, "p/b2"} - {"p/z"}, key=lambda name: name.encode())
    assert (await kv.range("none/")).items == ()


async def test_a_revision_to_come_can_not_be_read(kv: KV) -> None:
    with pytest.raises(Invalid):
        await kv.range("", revision=Revision(await revision_of(kv) + 1000))


async def test_a_watch_sees_every_change_in_order_and_only_its_prefix(kv: KV) -> None:
    start = await put(kv, "a/0")
    await kv.txn([], [Put(key="a/1", value=b"1"), Put(key="b/1", value=b"1"), Put(key="a/2", value=b"2")])
    await put(kv, "b/2")
    async with kv.watch("a/", after_revision=start) as batches:
        (first,) = await changes(batches, 1)
        assert sorted(shown(first)) == [("a/1", b"1"), ("a/2", b"2")]
        assert first.revision == start + 1
        await kv.txn([], [Delete(key="a/1"), Put(key="a/2", value=b"3")])
        await kv.txn([], [Delete(key="a/2")])
        second, third = await changes(batches, 2)
        assert sorted(shown(second)) == [("a/1", None), ("a/2", b"3")]
        assert shown(third) == [("a/2", None)]
        assert first.revision < second.revision < third.revision
    async with kv.watch("a/", after_revision=second.revision) as batches:
        assert await changes(batches, 1) == [third]


async def test_a_watch_can_begin_in_the_future(kv: KV) -> None:
    start = await revision_of(kv)
    async with kv.watch("", after_revision=Revision(start + 2)) as batches:
        for number in range(3):
            await put(kv, f"k{number}")
        (batch,) = await changes(batches, 1)
        assert shown(batch) == [("k2", b"v")]


async def test_a_quiet_watch_tells_progress(kv: KV) -> None:
    start = await put(kv, "a")
    async with kv.watch("none/", after_revision=Revision(start - 1)) as batches:
        with trio.fail_after(20):
            batch = await anext(batches)
            while batch.revision < start:
                batch = await anext(batches)
    assert batch.events == ()


async def test_many_changes_at_once_reach_a_watch_whole(kv: KV) -> None:
    start = await revision_of(kv)
    large = b"x" * 200_000
    for begin in range(0, 600, 20):
        await kv.txn(
            [], [Put(key=f"k{n}", value=large if n % 10 == 0 else b"") for n in range(begin, begin + 20)]
        )
    async with kv.watch("", after_revision=start) as batches:
        found = await changes(batches, 30)
    assert [len(batch.events) for batch in found] == [20] * 30
    assert [batch.revision for batch in found] == list(range(start + 1, start + 31))


async def test_compaction_forgets_history_and_no_keys(kv: KV) -> None:
    first = await put(kv, "a", b"1")
    for number in range(10):
        last = await put(kv, "a", str(number).encode())
    await kv.compact(Revision(last - 1))
    await kv.compact(Revision(last - 5))  # further back than it was already: fine
    item = await kv.get("a")
    assert item is not None
    assert (item.value, item.create_revision) == (b"9", first)
    assert (await kv.range("", revision=last)).items == (item,)
    with pytest.raises(Fenced) as caught:
        await kv.range("", revision=first)
    assert caught.value.reason is Reason.GUARD_FAILED
    with pytest.raises(Fenced) as caught:
        async with kv.watch("", after_revision=first) as batches:
            await changes(batches, 1)
    assert caught.value.reason is Reason.GUARD_FAILED
    async with kv.watch("", after_revision=Revision(last - 1)) as batches:
        assert [shown(batch) for batch in await changes(batches, 1)] == [[("a", b"9")]]


async def test_a_lease_that_is_kept_alive_holds_its_keys(kv: KV) -> None:
    lease_id = await kv.grant_lease(ttl_seconds=TTL_SECONDS)
    await put(kv, "leased/a", lease_id=lease_id)
    for _ in range(6):
        await trio.sleep(TTL_SECONDS / 3)
        await kv.keep_alive(lease_id)
    item = await kv.get("leased/a")
    assert item is not None
    assert item.lease_id == lease_id


async def test_a_lease_that_runs_out_deletes_its_keys_in_one_revision(kv: KV) -> None:
    lease_id = await kv.grant_lease(ttl_seconds=TTL_SECONDS)
    await put(kv, "leased/a", lease_id=lease_id)
    await put(kv, "kept", lease_id=lease_id)
    await put(kv, "kept")  # written without a lease it has none any more
    start = await put(kv, "leased/b", lease_id=lease_id)
    async with kv.watch("", after_revision=start) as batches:
        (batch,) = await changes(batches, 1)
    assert set(batch.events) == {Deleted(key="leased/a"), Deleted(key="leased/b")}
    assert keys_of((await kv.range("")).items) == ["kept"]
    with pytest.raises(NotFound):
        await kv.keep_alive(lease_id)
    with pytest.raises(NotFound):
        await put(kv, "leased/a", lease_id=lease_id)
    assert keys_of((await kv.range("")).items) == ["kept"]


async def test_a_revoked_lease_is_over_at_once(kv: KV) -> None:
    lease_id = await kv.grant_lease(ttl_seconds=60)
    other = await kv.grant_lease(ttl_seconds=60)
    await put(kv, "a", lease_id=lease_id)
    await put(kv, "b", lease_id=lease_id)
    await put(kv, "b", lease_id=other)
    await kv.revoke_lease(lease_id)
    assert keys_of((await kv.range("")).items) == ["b"]
    await kv.revoke_lease(lease_id)
    with pytest.raises(NotFound):
        await kv.keep_alive(lease_id)


async def test_of_concurrent_claims_one_wins(kv: KV) -> None:
    won: list[int] = []

    async def claim(number: int) -> None:
        guard = ModRevisionIs(key="claim", revision=ABSENT)
        if (await kv.txn([guard], [Put(key="claim", value=bytes([number]))])).succeeded:
            won.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(claim, number)
    item = await kv.get("claim")
    assert item is not None
    assert won == [item.value[0]]
