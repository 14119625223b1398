"""Sites of kill points: which awaits there are, and which one a task is at."""

from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.objectstore.memory import MemoryObjectStore
from libs.objectstore.port import ListPage
from services.partition_owner.collection.sweep import Sweep
from tests.sim.world.kill_points import TARGETS_PER_SEED, sites, sites_at, targets_of


def test_the_sites_are_the_awaits_of_the_modules_and_each_is_there_once() -> None:
    known = sites()
    assert len(known) == len(set(known))
    files = {site.file for site in known}
    assert {"flusher.py", "sealing.py", "opening.py", "handover.py"} <= files
    assert any(file.startswith("compaction/") for file in files)
    assert any(file.startswith("collection/") for file in files)


def test_the_seeds_in_turn_aim_at_every_site() -> None:
    seeds = -(-len(sites()) // TARGETS_PER_SEED)
    aimed = {site for seed in range(seeds) for site in targets_of(seed)}
    assert aimed == set(sites())


def test_who_names_sites_aims_at_all_of_them_in_every_seed() -> None:
    aimed = targets_of(3, ["Opener._close", "handover.py"])
    assert {site.file for site in aimed} == {"opening.py", "handover.py"}
    assert all(site.function == "Opener._close" for site in aimed if site.file == "opening.py")
    assert aimed == targets_of(4, ["Opener._close", "handover.py"])
    first = str(targets_of(1, ["opening.py"])[0]).split()[0]
    assert targets_of(1, [first[:-1]]) == [], "a line has all its digits"


class _SilentStore(MemoryObjectStore):
    async def list(self, *_args: object, **_more: object) -> ListPage:
        await trio.sleep_forever()


async def test_awaits_inside_of_async_generators_are_found(nursery: trio.Nursery) -> None:
    unused: Any = None
    store = _SilentStore(ManualClock())
    sweep = Sweep(store=store, references=unused, starts=unused, deleter=unused, rand=SeededRand(1))

    async def walk() -> None:
        async for _ in sweep._folders():
            pass

    nursery.start_soon(walk)
    await wait_all_tasks_blocked()
    (task,) = nursery.child_tasks
    found = {site.function for site in sites_at(task)}
    assert found >= {"Sweep._folders", "Sweep._in_folders"}
    nursery.cancel_scope.cancel()
