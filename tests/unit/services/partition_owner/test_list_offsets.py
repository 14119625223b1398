"""Which epoch belongs to an offset that is asked for by name."""

from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.objectstore.memory import MemoryObjectStore
from services.partition_owner.list_offsets import EARLIEST, LATEST
from tests.support.owners import EPOCH_MS, batch, list_offset, open_owner_cluster, tp_of


async def test_the_earliest_offset_has_the_epoch_that_it_was_written_under(autojump_clock: MockClock) -> None:
    """Also where that is epoch 0: a client would take the newer one for a sign of a truncated log."""
    async with open_owner_cluster(MemoryObjectStore(LoopClock(EPOCH_MS))) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        first, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(first)
        await appends.append(tp, epoch, batch("x"))
        await first.kill()
        second, next_epoch = await cluster.wait_open(tp, not_on=first.name)
        assert (epoch, next_epoch) == (0, 1)
        assert (await list_offset(second, tp, EARLIEST)).leader_epoch == 0
        assert (await list_offset(second, tp, LATEST)).leader_epoch == 1
