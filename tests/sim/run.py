"""One seed from its first step to its verdict.

Owns: the order of a run: the cluster starts, actors act while the nemesis disturbs, everything is healed, all
is written to and read, retention has its time, all is read again, all is judged. Does not own: any of these.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from libs.concurrency.rand import SeededRand
from tests.sim.actors.admin import FIRST_TOPIC, Admin
from tests.sim.actors.admin_loop import AdminLoop
from tests.sim.actors.final import end_state
from tests.sim.actors.healed import healed_state
from tests.sim.actors.nemesis import Nemesis
from tests.sim.actors.workload import Workload
from tests.sim.checkers.judge import judge
from tests.sim.facts import ObjectWritten
from tests.sim.history import History
from tests.sim.world.bugs import Bugs, watching_for_bugs
from tests.sim.world.determinism import Timers, run_deterministic
from tests.sim.world.kill_points import KillPoints, Site
from tests.sim.world.plan import constants_of, draw_plan
from tests.sim.world.trace import Trace
from tests.sim.world.world import World, open_world

STEPS_DEFAULT: Final = 2000
FINISH_SECONDS_MAX: Final = 300.0
"""What clients get to hear of what they sent, once all is well."""
QUIET_ROUNDS: Final = 1.25
"""How often what happens by itself may happen, before the end is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a seed came to. `violations`: a line each."""

    seed: int
    steps: int
    aim: Sequence[str]
    violations: tuple[str, ...]
    operations: int
    by_operation: Mapping[str, int]
    faults: Mapping[str, int]
    store_faults: Mapping[str, int]
    kill_points_hit: Mapping[Site, int]
    virtual_seconds: float
    entries: int
    trace: str
    cpu_seconds: float
    """Of the machine: not part of the trace."""


def run_seed(
    seed: int, *, steps: int = STEPS_DEFAULT, aim: Sequence[str] = (), verbose: bool = False
) -> tuple[Outcome, History, Trace]:
    """Runs and judges a seed; the same seed, steps, aim and code give the same trace."""
    began = time.process_time()
    kill_points = KillPoints(seed, SeededRand(f"{seed}/kill-points"), aim=aim)

    async def main(timers: Timers) -> tuple[World, float]:
        plan = draw_plan(SeededRand(f"{seed}/plan"))
        lines_kept = 1_000_000 if verbose else 0
        with constants_of(plan):
            async with open_world(
                seed=str(seed), steps=steps, plan=plan, timers=timers, lines_kept=lines_kept
            ) as world:
                await _live(world, kill_points)
                return world, trio.current_time()

    with watching_for_bugs(verbose=verbose) as bugs:
        world, virtual_seconds = run_deterministic(main, seed=seed, instruments=[kill_points])
    for entry in world.history.entries:
        if not isinstance(entry.event, ObjectWritten):  # noted when it was stored
            world.trace.note(entry.at, f"{entry.actor} {entry.event!r}")
    outcome = Outcome(
        seed=seed,
        steps=steps,
        aim=aim,
        violations=_violations(world.history, bugs),
        operations=world.counts.operations,
        by_operation=world.counts.by_operation,
        faults=world.counts.faults,
        store_faults=world.store_faults(),
        kill_points_hit=kill_points.hit,
        virtual_seconds=virtual_seconds,
        entries=len(world.history),
        trace=world.trace.digest(),
        cpu_seconds=time.process_time() - began,
    )
    return outcome, world.history, world.trace


def _violations(history: History, bugs: Bugs) -> tuple[str, ...]:
    found = [str(violation) for violation in judge(history)]
    return (*found, *(f"bugs: a supervisor caught {line}" for line in bugs.lines))


async def _live(world: World, kill_points: KillPoints) -> None:
    kill_points.watch(world)
    nemesis = Nemesis(world, kill_points)
    rand = world.rand("cast")
    await world.start_all()
    admin = Admin(world, "admin")
    first = await admin.create(FIRST_TOPIC, rand.integer(2, 4), admin.drawn_configs(rand))
    world.nursery.start_soon(world.sample_buffers)
    async with trio.open_nursery() as clients:
        workload = Workload(world, clients)
        workload.attend(first, producers=rand.integer(3, 4), consumers=rand.integer(1, 2))
        workload.join("grp0", rand.integer(2, 3))
        admin_loop = AdminLoop(world, admin, workload)
        clients.start_soon(admin_loop.run)
        async with trio.open_nursery() as trouble:
            trouble.start_soon(nemesis.run)
            await world.wait_done()
            trouble.cancel_scope.cancel()
        await nemesis.heal()
        clients.cancel_scope.deadline = trio.current_time() + FINISH_SECONDS_MAX
    world.history.stuck = tuple(world.clients)
    world.history.healed = await healed_state(world)
    await admin_loop.change_for_good()
    groups = [group.name for group in workload.groups]
    quiet_seconds = QUIET_ROUNDS * world.plan.quiet_seconds
    await trio.sleep(quiet_seconds)
    world.history.end = await end_state(world, groups, grace_seconds=quiet_seconds)


def total(outcomes: list[Outcome]) -> Counter[str]:
    """The faults of many seeds, of the nemesis and of the stores."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.faults)
        counts.update(outcome.store_faults)
    return counts
