"""What goes wrong: kills, pauses, cuts, stores that fail, clocks that jump; and in the end, nothing any more.

Owns: which fault happens when and for how long. Does not own: how (world).
Rules: 1 every fault ends by itself, or by `heal`; 2 any number of faults may be on at a time; 3 a process
that was killed is started again by whoever killed it, as a supervisor would.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import trio

from libs.objectstore.faulty import FaultPlan
from tests.sim.facts import DataPathClear, MetadataAway, MetadataBack
from tests.sim.world.cluster import OwnerMember, ReplicaMember
from tests.sim.world.kill_points import KillPoints
from tests.sim.world.plan import SKEW_MS_MAX
from tests.sim.world.world import NEMESIS, World

READY_SECONDS_MAX: Final = 300.0
_PAUSES: Final = ((0.3, 3.0), (4.0, 15.0), (15.0, 40.0), (60.0, 200.0))
_NEAR_SECONDS: Final = ((0.05, 1.0), (0.5, 4.0), (5.0, 40.0))
_SKEWS_MS: Final = (-SKEW_MS_MAX, -20_000, -1_000, 0, 1_000, 20_000, SKEW_MS_MAX)

Fault = Callable[[], Awaitable[None]]


class Nemesis:
    """`run` until cancelled, then `heal`."""

    def __init__(self, world: World, kill_points: KillPoints) -> None:
        self._world = world
        self._kill_points = kill_points
        self._rand = world.rand(NEMESIS)
        self._on: dict[str, int] = {}
        self._extra_owners = 0

    async def run(self) -> None:
        """Faults, one after the other and over each other."""
        if self._rand.random() < 0.25:
            await self._metadata_outage()
        pace = self._rand.choice(((0.3, 2.0), (1.0, 5.0), (1.0, 5.0)))
        faults: list[tuple[int, Fault]] = [
            (5, self._kill_one),
            (2, self._restart_one),
            (4, self._pause_one),
            (3, self._cut_one_way),
            (3, self._cut_both_ways),
            (3, self._split),
            (2, self._reset),
            (2, self._slow_way),
            (4, self._store_trouble),
            (1, self._store_away),
            (3, self._kv_trouble),
            (2, self._kv_away),
            (2, self._break_watches),
            *([(2, self._jump_clock)] if self._world.plan.clocks_jump else []),
            (2, self._scale),
        ]
        weighted = [fault for weight, fault in faults for _ in range(weight)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._kill_at_points)
            if self._kill_points.is_aimed:
                nursery.start_soon(self._trouble_near_points)
            while True:
                nursery.start_soon(self._rand.choice(weighted))
                await trio.sleep(self._rand.uniform(*pace))

    async def heal(self) -> None:
        """All is well again: everybody runs, everything gets through. Returns when all are ready."""
        world = self._world
        self._kill_points.disarm()
        world.network.heal_all()
        for way in world.network.ways():
            way.delay_steps = world.network.delay_steps
        for name in world.alive():
            world.resume(name)
        for member in world.members.values():
            if isinstance(member, OwnerMember):
                member.store.faulty.plan = world.plan.calm
                member.store.faulty.is_down = False
            elif isinstance(member, ReplicaMember):
                member.kv.faults.reset()
        if self._on.get("metadata_away"):
            self._on["metadata_away"] = 0
            world.is_undisturbed = False
            world.history.add(NEMESIS, MetadataBack())
        await self._raise_all()

    async def _raise_all(self) -> None:
        """Everybody of the plan runs and is ready."""
        world = self._world
        for name in world.planned():
            if world.members[name].is_stopping:
                world.kill(name)  # whoever told it to stop will not start it again
        with trio.fail_after(READY_SECONDS_MAX):
            for name in world.planned():
                while not (world.members[name].process.alive and world.members[name].ready.is_set()):
                    if not world.members[name].process.alive:
                        world.start(name)
                    await trio.sleep(0.5)

    # Processes

    def _one(self, kind: str = "") -> str | None:
        alive = self._world.alive(kind)
        return self._rand.choice(alive) if alive else None

    def _any_kind(self) -> str:
        return self._rand.choice(("o", "o", "o", "g", "m"))

    async def _kill_one(self) -> None:
        name = self._one(self._any_kind())
        if name is not None:
            self._world.fault("kill", name)
            self._world.members[name].process.host_answers = self._rand.random() < 0.7
            self._world.kill(name)
            await self._start_again(name)

    async def _start_again(self, name: str) -> None:
        await trio.sleep(self._rand.choice((0.05, self._rand.uniform(0.1, 3.0), self._rand.uniform(3, 15))))
        if not self._world.members[name].process.alive:
            self._world.start(name)

    async def _restart_one(self) -> None:
        """As SIGTERM, with a drain."""
        name = self._one(self._any_kind())
        if name is None:
            return
        member = self._world.members[name]
        if not member.ready.is_set() or member.process.frozen:
            return
        self._world.fault("restart", name)
        member.stop()
        with trio.move_on_after(20.0):
            await member.process.gone.wait()
        self._world.kill(name)
        await self._start_again(name)

    async def _pause_one(self) -> None:
        name = self._one(self._any_kind())
        if name is None or self._world.members[name].process.frozen:
            return
        process = self._world.members[name].process
        self._world.fault("pause", name)
        self._world.pause(name)
        await trio.sleep(self._rand.uniform(*self._rand.choice(_PAUSES)))
        if self._world.members[name].process is process:
            self._world.resume(name)

    async def _kill_at_points(self) -> None:
        """Kills an owner at an await that the seed aims at, whenever one gets there."""
        while True:
            await trio.sleep(self._rand.uniform(1.0, 8.0))
            name = await self._kill_points.next_kill()
            await self._start_again(name)

    async def _trouble_near_points(self) -> None:
        """What an owner does near an await that was named fails, or is held up until others took over."""
        world = self._world
        while True:
            name = await self._kill_points.next_near()
            process, replicas = world.members[name].process, world.alive("m")
            kind = self._rand.choice(("store", "metadata", "store, metadata", "pause"))
            world.fault("trouble_near_point", f"{name}: {kind}")
            if kind == "pause" and not process.frozen:
                world.pause(name)
            for owner in world.owners():
                if owner.name == name and "store" in kind:
                    owner.store.faulty.is_down = True
            for replica in replicas if "metadata" in kind else ():
                world.network.reset(name, replica)
                world.network.cut(name, replica)
            await trio.sleep(self._rand.uniform(*self._rand.choice(_NEAR_SECONDS)))
            if kind == "pause" and world.members[name].process is process:
                world.resume(name)
            for owner in world.owners():
                if owner.name == name:
                    owner.store.faulty.is_down = False
            for replica in replicas:
                world.network.heal(name, replica)
            await trio.sleep(self._rand.uniform(0.5, 3.0))

    async def _scale(self) -> None:
        """One owner more, for a while; or one less."""
        world = self._world
        if self._rand.random() < 0.5 or len(world.alive("o")) <= 2:
            name = f"o{world.plan.owners + self._extra_owners}"
            self._extra_owners += 1
            world.fault("scale_out", name)
            world.start(name)
            await trio.sleep(self._rand.uniform(5.0, 40.0))
        else:
            name = self._rand.choice(world.alive("o"))
            world.fault("scale_in", name)
        member = world.members[name]
        if member.process.alive and not member.process.frozen:
            member.stop()
            with trio.move_on_after(20.0):
                await member.process.gone.wait()
            world.kill(name)
            if name in world.planned():
                await trio.sleep(self._rand.uniform(1.0, 30.0))
                if not world.members[name].process.alive:
                    world.start(name)

    # The network

    def _pair(self) -> tuple[str, str] | None:
        """Two that talk to each other."""
        kind = self._rand.choice(("go", "go", "gm", "om", "om", "cg", "mm"))
        sources = list(self._world.clients) if kind[0] == "c" else self._world.alive(kind[0])
        targets = self._world.alive(kind[1])
        if not sources or not targets:
            return None
        source, target = self._rand.choice(sources), self._rand.choice(targets)
        return None if source == target else (source, target)

    async def _cut_one_way(self) -> None:
        pair = self._pair()
        if pair is None:
            return
        source, target = pair if self._rand.random() < 0.5 else pair[::-1]
        self._world.fault("cut_one_way", f"{source}>{target}")
        self._world.network.cut(source, target)
        await trio.sleep(self._rand.uniform(0.5, 25.0))
        self._world.network.heal(source, target)

    async def _cut_both_ways(self) -> None:
        """Between two, or one and all the others."""
        pair = self._pair()
        if pair is None:
            return
        source, target = pair
        others = [target]
        if self._rand.random() < 0.3:
            others = [name for name in self._world.alive() if name != source]
        self._world.fault("cut_both_ways", f"{source}-{','.join(others)}")
        for other in others:
            self._world.network.cut(source, other)
            self._world.network.cut(other, source)
        await trio.sleep(self._rand.uniform(0.5, 25.0))
        for other in others:
            self._world.network.heal(source, other)
            self._world.network.heal(other, source)

    async def _split(self) -> None:
        """A gateway and an owner see clients and each other, and no metadata: they go on as they were, while
        others take over.
        """
        gateway, owner = self._one("g"), self._one("o")
        if gateway is None or owner is None:
            return
        replicas = self._world.alive("m")
        self._world.fault("split", f"{gateway},{owner}")
        ways = [(one, replica) for one in (gateway, owner) for replica in replicas]
        for one, replica in ways:
            self._world.network.cut(one, replica)
            self._world.network.cut(replica, one)
        await trio.sleep(self._rand.uniform(5.0, 40.0))
        for one, replica in ways:
            self._world.network.heal(one, replica)
            self._world.network.heal(replica, one)

    async def _reset(self) -> None:
        """Connections break: requests were delivered, replies are lost."""
        for _ in range(self._rand.integer(1, 4)):
            pair = self._pair()
            if pair is not None and self._world.network.reset(*pair):
                self._world.fault("reset", f"{pair[0]}-{pair[1]}")
            await trio.sleep(self._rand.uniform(0.0, 0.5))

    async def _slow_way(self) -> None:
        pair = self._pair()
        if pair is None:
            return
        way = self._world.network.way(*pair)
        self._world.fault("slow_way", way.name)
        way.delay_steps = self._rand.choice(((20, 60), (100, 600), (1000, 4000)))
        await trio.sleep(self._rand.uniform(1.0, 15.0))
        way.delay_steps = self._world.network.delay_steps

    # The stores

    def _bad_store(self) -> tuple[str, FaultPlan]:
        calm = self._world.plan.calm
        return self._rand.choice(
            (
                ("store_bursts", replace(calm, burst_rate=0.1, burst_seconds=(0.1, 2.0))),
                ("store_lost_replies", replace(calm, lost_reply_rate=0.3)),
                ("store_lost_requests", replace(calm, lost_request_rate=0.3)),
                ("store_late_puts", replace(calm, late_put_rate=0.3, late_put_seconds=(0.5, 60.0))),
                ("store_doubled", replace(calm, doubled_rate=0.3, late_put_seconds=(0.01, 60.0))),
                ("store_slow", replace(calm, slow_rate=0.3, slow_seconds=(0.2, 4.0))),
                (
                    "store_everything",
                    replace(
                        calm,
                        burst_rate=0.03,
                        lost_reply_rate=0.1,
                        lost_request_rate=0.1,
                        late_put_rate=0.1,
                        doubled_rate=0.1,
                        slow_rate=0.1,
                    ),
                ),
            )
        )

    async def _store_trouble(self) -> None:
        owners = self._world.owners()
        if not owners:
            return
        if self._rand.random() < 0.6:
            owners = [self._rand.choice(owners)]
        kind, plan = self._bad_store()
        self._world.fault(kind, ",".join(each.name for each in owners))
        for each in owners:
            each.store.faulty.plan = plan
        await trio.sleep(self._rand.uniform(1.0, 20.0))
        for each in owners:
            each.store.faulty.plan = self._world.plan.calm

    async def _store_away(self) -> None:
        owners = self._world.owners()
        if not owners:
            return
        if self._rand.random() < 0.5:
            owners = [self._rand.choice(owners)]
        self._world.fault("store_away", ",".join(each.name for each in owners))
        for each in owners:
            each.store.faulty.is_down = True
        await trio.sleep(self._rand.uniform(0.5, 12.0))
        for each in owners:
            each.store.faulty.is_down = False

    async def _kv_trouble(self) -> None:
        replicas = self._world.replicas()
        if not replicas:
            return
        replica = self._rand.choice(replicas)
        self._world.fault("kv_trouble", replica.name)
        faults = replica.kv.faults
        faults.lost_request_rate = self._rand.choice((0.0, 0.1, 0.3))
        faults.lost_reply_rate = self._rand.choice((0.0, 0.1, 0.3))
        faults.late_request_rate = self._rand.choice((0.0, 0.1, 0.3))
        faults.late_seconds = self._rand.choice(((0.01, 0.5), (0.5, 15.0)))
        faults.refused_rate = self._rand.choice((0.0, 0.1, 0.3))
        faults.delay_seconds = self._rand.choice(((0.0, 0.0), (0.0, 0.05), (0.1, 2.0)))
        await trio.sleep(self._rand.uniform(1.0, 15.0))
        faults.reset()

    async def _kv_away(self) -> None:
        """The store of metadata fails over: for one replica, or for all."""
        replicas = self._world.replicas()
        if not replicas:
            return
        if self._rand.random() < 0.5:
            replicas = [self._rand.choice(replicas)]
        self._world.fault("kv_away", ",".join(each.name for each in replicas))
        for each in replicas:
            each.kv.faults.is_away = True
            each.kv.break_watches()
        await trio.sleep(self._rand.uniform(0.5, 12.0))
        for each in replicas:
            each.kv.faults.is_away = False

    async def _break_watches(self) -> None:
        replicas = self._world.replicas()
        if replicas:
            replica = self._rand.choice(replicas)
            self._world.fault("kv_watches_broken", replica.name)
            replica.kv.break_watches()

    async def _metadata_outage(self) -> None:
        """Nothing else is wrong, but the metadata store, or every replica too, is away: promise 6."""
        world = self._world
        await trio.sleep(self._rand.uniform(4.0, 8.0))
        clear = [
            each.tp
            for owner in world.owners()
            if owner.service is not None and owner.name not in world.leaving
            for each in owner.service.control().partitions()
            if each.phase.value == "open" and owner.ready.is_set()
        ]
        world.fault("metadata_outage")
        self._on["metadata_away"] = 1
        world.is_undisturbed = True
        world.history.add(NEMESIS, DataPathClear(partitions=frozenset(clear)))
        world.history.add(NEMESIS, MetadataAway())
        replicas = world.replicas()
        everybody_dies = self._rand.random() < 0.5
        for each in replicas:
            each.kv.faults.is_away = True
            each.kv.break_watches()
            if everybody_dies:
                world.kill(each.name)
        await trio.sleep(self._rand.uniform(15.0, 40.0))
        world.history.add(NEMESIS, DataPathClear(partitions=frozenset()))
        world.history.add(NEMESIS, MetadataBack())
        self._on["metadata_away"] = 0
        world.is_undisturbed = False
        for each in replicas:
            each.kv.faults.is_away = False
            if not world.members[each.name].process.alive:
                world.start(each.name)

    # Clocks

    async def _jump_clock(self) -> None:
        name = self._one()
        if name is None:
            return
        self._world.fault("clock_jump", name)
        self._world.members[name].clock.skew_ms = self._rand.choice(_SKEWS_MS)
        await trio.lowlevel.checkpoint()
