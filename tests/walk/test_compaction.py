"""Compaction takes the steps that docs/walks/compaction.md tells."""

import re
from pathlib import Path

import trio
from trio.testing import MockClock

from libs.concurrency.clock import LoopClock
from libs.objectstore.memory import MemoryObjectStore
from libs.telemetry.spans import recording_spans
from tests.support.owners import EPOCH_MS, batch, open_owner_cluster, tp_of

WALK = Path(__file__).resolve().parents[2] / "docs" / "walks" / "compaction.md"


async def test_compaction_takes_the_steps_of_its_walk(autojump_clock: MockClock) -> None:
    steps: list[str] = re.findall(r"span `([\w.]+)`", WALK.read_text())
    store = MemoryObjectStore(LoopClock(EPOCH_MS))
    with recording_spans() as recorded:
        async with open_owner_cluster(store, ["a"]) as cluster:
            tp = tp_of(await cluster.create_topic("orders"))
            owner, epoch = await cluster.wait_open(tp)
            appends = await cluster.appends(owner)
            await appends.append(tp, epoch, batch("x"))
            await trio.sleep(660)
            assert owner.service.statistics().compaction.segments == 1
    assert [name for name in recorded.names() if name.startswith("compaction.")] == steps
