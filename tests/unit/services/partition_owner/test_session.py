"""How an owner learns that its session is over."""

from collections.abc import Sequence
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.model.errors import Invalid
from libs.model.ids import ChainSeq, OwnerId, StoreId
from libs.objectstore.memory import MemoryObjectStore
from services.metadata import keys
from services.metadata.kv.port import Delete, LeaseId, ModRevisionIs, Put, TxnResult
from services.metadata.writes import ATTEMPTS_MAX
from tests.support.owners import EPOCH_MS, batch, open_owner_cluster, tp_of


async def test_an_idle_owner_whose_session_was_sealed_begins_another(autojump_clock: MockClock) -> None:
    """It registered again just before it was sealed, and nobody gives it anything to write."""
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), ["a"]) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        owner, _ = await cluster.wait_open(tp)
        sealed = owner.session
        await cluster.client.mark_session_sealed(sealed, sealed_at=ChainSeq(0))
        with trio.fail_after(60):
            while owner.session == sealed:  # noqa: ASYNC110 - nothing tells of it
                await trio.sleep(0.5)
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("x")) == 0


async def test_a_registration_that_others_get_in_the_way_of_is_no_end(
    autojump_clock: MockClock,
) -> None:
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), ["a"]) as cluster:
        owner = cluster.owners["a"]
        session, kv = owner.session, cluster.metadata.kv
        item = await kv.get(keys.owner(OwnerId("a")))
        assert item is not None
        assert item.lease_id is not None
        txn, refused = kv.txn, 0

        async def refuse(compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
            nonlocal refused
            if refused < ATTEMPTS_MAX and any(op.key == item.key for op in ops):
                refused += 1
                return TxnResult(succeeded=False, revision=item.mod_revision)
            return await txn(compares, ops)

        kv.txn = refuse  # type: ignore[method-assign]
        await kv.revoke_lease(item.lease_id)
        await trio.sleep(30)
        assert refused == ATTEMPTS_MAX
        assert await kv.get(keys.owner(OwnerId("a"))) is not None
        assert owner.session == session


async def test_an_owner_of_another_object_store_ends_with_an_error(autojump_clock: MockClock) -> None:
    store = MemoryObjectStore(LoopClock(EPOCH_MS))
    with pytest.RaisesGroup(pytest.RaisesExc(Invalid, match="object store"), flatten_subgroups=True):
        async with open_owner_cluster(store, ["a"]) as cluster:
            await cluster.start("b", store_id=StoreId(UUID(int=7)))


async def test_one_renewal_without_an_answer_costs_no_lease(autojump_clock: MockClock) -> None:
    """Its partitions would move for nothing."""
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS)), ["a"]) as cluster:
        kv = cluster.metadata.kv
        before = await kv.get(keys.owner(OwnerId("a")))
        assert before is not None
        keep_alive, hung = kv.keep_alive, 0

        async def hang_once(lease_id: LeaseId) -> None:
            nonlocal hung
            if lease_id == before.lease_id and not hung:
                hung += 1
                await trio.sleep_forever()
            await keep_alive(lease_id)

        kv.keep_alive = hang_once  # type: ignore[method-assign]
        await trio.sleep(30)
        after = await kv.get(keys.owner(OwnerId("a")))
        assert hung == 1
        assert after == before
