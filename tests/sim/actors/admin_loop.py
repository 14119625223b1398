"""What an admin does all day: topics come, change and go, records are deleted, owners are drained.

Owns: which of it happens when. Does not own: how it is asked (admin.py), faults (nemesis.py).
Rules: 1 all topics but the first may be deleted and made anew.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

import trio

from libs.model.cluster import Topic
from libs.model.errors import KafscaleError
from tests.sim.actors.admin import FIRST_TOPIC, Admin
from tests.sim.actors.workload import Workload
from tests.sim.world.cluster import OwnerMember
from tests.sim.world.world import World

TOPICS_MAX: Final = 3
PARTITIONS_MAX: Final = 6
RETENTIONS: Final[tuple[Mapping[str, str], ...]] = (
    MappingProxyType({}),
    MappingProxyType({"retention.ms": "20000"}),
    MappingProxyType({"retention.ms": "30000"}),
    MappingProxyType({"retention.bytes": "4000"}),
    MappingProxyType({"retention.bytes": "20000"}),
)
_DRAINED_SECONDS_MAX: Final = 30.0


class AdminLoop:
    """Runs until the world is done."""

    def __init__(self, world: World, admin: Admin, workload: Workload) -> None:
        self._world = world
        self._admin = admin
        self._others = [Admin(world, f"admin-{number}") for number in range(2)]
        """For what is asked beside each other."""
        self._workload = workload
        self._rand = world.rand("admin-loop")
        self._names = 0

    async def run(self) -> None:
        """Until the world is done."""
        actions: list[Callable[[], Awaitable[None]]] = [
            self._create,
            self._delete,
            self._delete,
            self._change,
            self._change,
            self._drain,
            self._drain,
            self._drain_all,
            self._delete_records,
            self._delete_records,
            self._delete_records,
        ]
        names = [each.name for each in (self._admin, *self._others)]
        self._world.clients |= dict.fromkeys(names)
        while not self._world.done:
            await trio.sleep(self._rand.uniform(0.5, 6.0))
            await self._rand.choice(actions)()
        for name in names:
            del self._world.clients[name]

    async def change_for_good(self) -> None:
        """The last change of each topic, when all is well: what is open then goes by it in the end."""
        for _, topic in sorted(self._world.topics.items()):
            await self._admin.alter_configs(topic, self._drawn_retentions())

    def _other_topics(self) -> list[Topic]:
        return [topic for name, topic in sorted(self._world.topics.items()) if name != FIRST_TOPIC]

    async def _create(self) -> None:
        if len(self._world.topics) >= TOPICS_MAX:
            return
        self._names += 1
        await self._make(f"t{self._names}")

    async def _make(self, name: str) -> None:
        configs = self._admin.drawn_configs(self._rand)
        topic = await self._admin.create(name, self._rand.integer(1, 3), configs)
        self._workload.attend(topic, producers=self._rand.integer(1, 2), consumers=1)

    async def _delete(self) -> None:
        others = self._other_topics()
        if not others:
            return
        topic = self._rand.choice(others)
        self._workload.leave(topic)
        async with trio.open_nursery() as nursery:
            if self._rand.random() < 0.3:  # what comes late must not bring it back
                nursery.start_soon(self._others[0].alter_configs, topic, self._drawn_retentions())
                await trio.sleep(self._rand.choice((0.0, 0.01)))
            nursery.start_soon(self._admin.delete, topic)
        if self._rand.random() < 0.7:  # promise 8 is about this
            await self._make(topic.name)

    async def _change(self) -> None:
        """Other retentions, more partitions, or both at once: neither may undo the other. Sometimes fewer
        partitions, which nobody gets."""
        topic = self._rand.choice([topic for _, topic in sorted(self._world.topics.items())])
        kind = self._rand.random()
        if kind < 0.15:
            if topic.partitions > 1:
                await self._admin.grow(topic, topic.partitions - 1)
            return
        async with trio.open_nursery() as nursery:
            if kind < 0.8:
                nursery.start_soon(self._others[0].alter_configs, topic, self._drawn_retentions())
            if kind > 0.4 and topic.partitions < PARTITIONS_MAX:
                nursery.start_soon(self._grow, topic)

    async def _grow(self, topic: Topic) -> None:
        partitions = self._rand.integer(topic.partitions + 1, min(topic.partitions + 2, PARTITIONS_MAX))
        if await self._others[1].grow(topic, partitions) and topic.name in self._world.topics:
            now = self._world.topics[topic.name]
            self._workload.attend(now, producers=1, consumers=1, since=topic.partitions)

    def _drawn_retentions(self) -> Mapping[str, str]:
        drawn = self._rand.choice(RETENTIONS)
        return {} if self._world.plan.clocks_jump and "retention.ms" in drawn else drawn

    async def _drain_all(self) -> None:
        """Takes everything from an owner, which then gets nothing more until it has a new session: it is told
        to stop and started again, and the others' partitions are evened out."""
        world = self._world
        owners = [each for each in self._ready_owners() if each.name in world.planned()]
        if world.is_undisturbed or len(owners) < 2:
            return
        owner = self._rand.choice(owners)
        world.leaving.add(owner.name)
        try:
            if await self._drained_and_gone(owner):
                await trio.sleep(self._rand.uniform(0.1, 5.0))
                if not world.members[owner.name].process.alive:
                    world.start(owner.name)
        finally:
            world.leaving.discard(owner.name)

    async def _drained_and_gone(self, owner: OwnerMember) -> bool:
        assert owner.service is not None
        control = owner.service.control()
        over = trio.Event()
        self._world.operation("drain_all")

        async def drain() -> None:
            try:
                await control.drain([], all_assigned=True, reason="simulation", deadline_seconds=8.0)
                owner.stop()
            except KafscaleError:
                pass  # nobody can take over, or nobody knows: it goes on
            finally:
                over.set()

        if not owner.process.spawn(drain):
            return False
        with trio.move_on_after(_DRAINED_SECONDS_MAX):
            await over.wait()
            if owner.is_stopping:
                await owner.process.gone.wait()
        if owner.is_stopping and self._world.members[owner.name] is owner:
            self._world.kill(owner.name)
            return True
        return False

    def _ready_owners(self) -> list[OwnerMember]:
        return [each for each in self._world.owners() if each.service is not None and each.ready.is_set()]

    async def _drain(self) -> None:
        """Moves some partitions away from an owner."""
        owners = self._ready_owners()
        if not owners:
            return
        owner = self._rand.choice(owners)
        assert owner.service is not None
        control = owner.service.control()
        held = [each.tp for each in control.partitions()]
        if not held:
            return
        wanted = sorted({self._rand.choice(held) for _ in range(self._rand.integer(1, 3))})
        self._world.operation("drain")

        async def drain() -> None:
            with suppress(KafscaleError):
                await control.drain(wanted, all_assigned=False, reason="simulation", deadline_seconds=5.0)

        owner.process.spawn(drain)

    async def _delete_records(self) -> None:
        topic = self._rand.choice([topic for _, topic in sorted(self._world.topics.items())])
        index = self._rand.integer(0, topic.partitions - 1)
        before = -1 if self._rand.random() < 0.2 else self._rand.integer(0, 60)
        await self._admin.delete_records(topic, index, before)
