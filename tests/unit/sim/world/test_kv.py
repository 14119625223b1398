"""The ways to the simulated metadata store: what lands late lands, whoever sent it."""

import pytest
import trio

from libs.concurrency.rand import SeededRand
from libs.model.errors import Unavailable
from services.metadata.kv.port import ABSENT, ModRevisionIs, Put
from tests.sim.history import History
from tests.sim.world.kv import KvPort, RecordedKV
from tests.sim.world.process import SimProcess
from tests.sim.world.trace import Trace


async def test_a_request_that_is_held_up_lands_after_its_sender_died(autojump_clock: object) -> None:
    kv = RecordedKV(History(trio.current_time), Trace())
    process = SimProcess("m0")
    told: list[Unavailable] = []
    async with trio.open_nursery() as nursery:
        port = KvPort(kv, process, SeededRand(1), calm_seconds=(0.0, 0.0), nursery=nursery)
        port.faults.late_request_rate, port.faults.late_seconds = 1.0, (5.0, 6.0)

        async def send_twice() -> None:
            for _ in range(2):
                with pytest.raises(Unavailable) as error:
                    await port.txn([ModRevisionIs(key="k", revision=ABSENT)], [Put(key="k", value=b"late")])
                told.append(error.value)

        process.start(nursery, send_twice, lambda _process: None)
        await trio.sleep(4)
        process.cut()
        process.bury()
        assert [error.outcome_unknown for error in told] == [True, True]
        assert await kv.get("k") is None
        await trio.sleep(3)
        item = await kv.get("k")
        assert item is not None
        assert item.value == b"late"
        assert item.create_revision == item.mod_revision  # the second met the first
