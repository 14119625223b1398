"""How an owner learns that its session is over."""

import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.model.ids import ChainSeq
from libs.objectstore.memory import MemoryObjectStore
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
