"""One seed from its first step to its verdict.

Owns: the order of a run: the cluster starts, actors act while the nemesis disturbs, everything is healed, all
is read, all is judged. Does not own: any of these.
"""

from dataclasses import dataclass

import trio

from libs.concurrency.rand import SeededRand
from tests.sim.actors.admin import Admin
from tests.sim.actors.consumer import Consumer
from tests.sim.actors.producer import Producer
from tests.sim.history import History
from tests.sim.world.determinism import run_deterministic
from tests.sim.world.plan import draw_plan
from tests.sim.world.trace import Trace
from tests.sim.world.world import Counts, World, open_world

STEPS_DEFAULT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a seed came to."""

    seed: int
    history: History
    counts: Counts
    trace: Trace
    virtual_seconds: float


def run_seed(seed: int, *, steps: int = STEPS_DEFAULT, lines_kept: int = 0) -> Outcome:
    """Runs a seed; the same seed, steps and code give the same trace."""

    async def main() -> Outcome:
        plan = draw_plan(SeededRand(f"{seed}/plan"))
        async with open_world(seed=str(seed), steps=steps, plan=plan, lines_kept=lines_kept) as world:
            await _act(world)
            return Outcome(
                seed=seed,
                history=world.history,
                counts=world.counts,
                trace=world.trace,
                virtual_seconds=trio.current_time(),
            )

    return run_deterministic(main, seed=seed)


async def _act(world: World) -> None:
    await world.start_all()
    admin = Admin(world, "admin")
    topic = await admin.create("t0", 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Producer(world, "p0", topic, [0, 1], idempotent=True).run)
        nursery.start_soon(Producer(world, "p1", topic, [2], idempotent=False).run)
        nursery.start_soon(Consumer(world, "c0", topic, [0, 1, 2]).run)
