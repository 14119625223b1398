"""A whole operator on a fake API server, fake owners and fake metadata services.

Owns: joining them, waiting for what comes of it. Does not own: the fakes of the API server (fake_kube.py).
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import trio

from libs.concurrency.clock import LoopClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Topic
from libs.model.errors import Invalid, KafscaleError, Reason
from libs.model.ids import TopicId, TopicName
from services.operator.config import OperatorSettings
from services.operator.kinds import CLUSTERS, PODS, TOPICS, Key, Object
from services.operator.leader import Election
from services.operator.links import OpenTopics
from services.operator.render.common import OWNER
from services.operator.rolling import Drained, DrainFailed
from services.operator.service import Operator
from services.operator.topics import TopicsApi
from tests.unit.services.operator.fake_kube import FakeControllers, FakeKube
from tests.unit.services.operator.making import IMAGE, NAMESPACE

SECONDS_MAX = 600
"""Of the mock clock."""


class FakeOwners:
    """Drains by address; `failing` says why one fails."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.drained: list[str] = []
        self.failing: str | None = None

    async def drain(self, address: str, *, reason: str) -> Drained | DrainFailed:
        self.asked.set()
        await trio.sleep(0.5)
        assert reason
        if self.failing is not None:
            return DrainFailed(why=self.failing)
        self.drained.append(address)
        return Drained()


class DrainingOwners(FakeOwners):
    """One refuses to drain where no other one is left that does not drain, as metadata says."""

    def __init__(self, kube: FakeKube) -> None:
        super().__init__()
        self.on_drain: Callable[[str], None] = lambda pod: None
        self._kube = kube

    async def drain(self, address: str, *, reason: str) -> Drained | DrainFailed:
        await trio.sleep(0.5)
        owners = {
            f"{pod['status']['podIP']}:9093": key.name
            for key, pod in self._kube.objects(PODS).items()
            if OWNER in key.name
        }
        if not owners.keys() - {*self.drained, address}:
            return DrainFailed(why="nobody can take over", refused=True)
        self.drained.append(address)
        self.on_drain(owners[address])
        return Drained()


class FakeTopics:
    """TopicsApi of one cluster in memory; `error` is raised by every call, `lost_reply` after a creation."""

    def __init__(self) -> None:
        self.topics: dict[TopicName, Topic] = {}
        self.error: KafscaleError | None = None
        self.lost_reply: KafscaleError | None = None
        self.error_after: KafscaleError | None = None
        """What every call comes to after that."""
        self.refusal: KafscaleError | None = None
        """What every creation comes to."""
        self.beaten = False
        """A client makes the topic just before it would be created."""
        self.deleted: list[TopicId] = []
        self.on_change: Callable[[], None] = lambda: None
        self._made = 0

    def put(self, name: str, *, partitions: int = 1, configs: Mapping[str, str] | None = None) -> Topic:
        """As a client makes one."""
        self._made += 1
        topic = Topic(
            name=TopicName(name),
            topic_id=TopicId(UUID(int=self._made)),
            partitions=partitions,
            configs=dict(configs or {}),
        )
        self.topics[topic.name] = topic
        self.on_change()
        return topic

    async def describe(self, name: TopicName) -> Topic | None:
        await self._fail()
        return self.topics.get(name)

    async def create(self, name: TopicName, *, partitions: int, configs: Mapping[str, str]) -> Topic:
        await self._fail()
        if self.beaten:
            self.put(name, partitions=8)
        if self.refusal is not None:
            raise self.refusal
        if name in self.topics:
            raise Invalid("it exists", reason=Reason.TOPIC_ALREADY_EXISTS)
        topic = self.put(name, partitions=partitions, configs=configs)
        if self.lost_reply is not None:
            error, self.lost_reply = self.lost_reply, None
            self.error = self.error_after
            raise error
        return topic

    async def update(
        self, name: TopicName, *, topic_id: TopicId, partitions: int | None, configs: Mapping[str, str] | None
    ) -> Topic:
        await self._fail()
        now = self.topics[name]
        assert now.topic_id == topic_id
        self.topics[name] = Topic(
            name=name,
            topic_id=topic_id,
            partitions=now.partitions if partitions is None else partitions,
            configs=dict(now.configs if configs is None else configs),
        )
        return self.topics[name]

    async def delete(self, topic_id: TopicId) -> None:
        await self._fail()
        self.deleted.append(topic_id)
        self.topics = {name: each for name, each in self.topics.items() if each.topic_id != topic_id}

    async def _fail(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error


class World:
    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.controllers = FakeControllers(kube)
        self.owners: FakeOwners = FakeOwners()
        self.topics = FakeTopics()

    def open_topics(self) -> OpenTopics:
        @asynccontextmanager
        async def opening(_cluster: Key, on_change: Callable[[], None]) -> AsyncIterator[TopicsApi]:
            self.topics.on_change = on_change
            yield self.topics

        return opening

    async def wait(self, condition: Callable[[], object]) -> None:
        """Lets controllers and the operator work until the condition holds."""
        with trio.fail_after(SECONDS_MAX):
            while not condition():
                self.controllers.step()
                await trio.sleep(1)

    async def settle(self, seconds: float = 120) -> None:
        ends = trio.current_time() + seconds
        while trio.current_time() < ends:
            self.controllers.step()
            await trio.sleep(min(10, seconds / 5))

    def condition(self, type_: str, name: str = "kafka", *, topic: bool = False) -> Object:
        kind = TOPICS if topic else CLUSTERS
        item = self.kube.objects(kind).get(Key(kind.kind, NAMESPACE, name), {})
        found = (item.get("status") or {}).get("conditions") or ()
        return next((each for each in found if each["type"] == type_), {"status": "Unknown", "reason": ""})

    def holds(self, type_: str, name: str = "kafka", *, topic: bool = False) -> bool:
        return bool(self.condition(type_, name, topic=topic)["status"] == "True")


def an_operator(world: World, *, identity: str = "one", namespaces: tuple[str, ...] = ()) -> Operator:
    clock = LoopClock(1_700_000_000_000)
    election = Election(world.kube, namespace="kafscale", identity=identity, seconds=15, clock=clock)
    return Operator(
        kube=world.kube,
        election=election,
        drainer=world.owners,
        open_topics=world.open_topics(),
        settings=OperatorSettings(operator_image=IMAGE, operator_watch_namespaces=namespaces),
        clock=clock,
        rand=SeededRand(identity),
    )


@asynccontextmanager
async def running(world: World | None = None) -> AsyncIterator[World]:
    """A world with one operator at work in it."""
    made = world or World(FakeKube())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(an_operator(made).run)
        yield made
        nursery.cancel_scope.cancel()
