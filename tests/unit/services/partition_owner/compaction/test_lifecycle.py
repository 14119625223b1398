"""What is appended becomes segments and stays what it was: owners, kills, takeovers, under a mock clock."""

import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.objectstore.memory import MemoryObjectStore
from tests.support.owners import EPOCH_MS, batch, open_owner_cluster, tp_of
from tests.support.producing import read_all


async def test_a_quiet_cluster_is_compacted_once_and_then_silent(autojump_clock: MockClock) -> None:
    store = MemoryObjectStore(LoopClock(EPOCH_MS))
    async with open_owner_cluster(store, ["a"]) as cluster:
        tp = tp_of(await cluster.create_topic("orders"))
        owner, epoch = await cluster.wait_open(tp)
        appends = await cluster.appends(owner)
        for number in range(20):
            await appends.append(tp, epoch, batch(f"{number}", producer=(7, 0, number)))
        await trio.sleep(660)
        statistics = owner.service.statistics().compaction
        assert statistics.uncompacted_bytes == 0
        assert statistics.segments == 1
        assert statistics.puts == 3
        assert await read_all(owner, tp) == [str(number) for number in range(20)]
        await trio.sleep(7200)
        assert owner.service.statistics().compaction.puts == 3
        assert await appends.append(tp, epoch, batch("5", producer=(7, 0, 19))) == 19
        await owner.kill()
        await cluster.start("b")
        owner, epoch = await cluster.wait_open(tp)
        assert await read_all(owner, tp) == [str(number) for number in range(20)]
        appends = await cluster.appends(owner)
        assert await appends.append(tp, epoch, batch("17", producer=(7, 0, 17))) == 17
        assert await appends.append(tp, epoch, batch("20", producer=(7, 0, 20))) == 20
