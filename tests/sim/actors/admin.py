"""The admin: topics come and go, records are deleted, owners are drained.

Owns: what the world knows of topics. Does not own: faults (nemesis.py).
Rules: 1 what has an unknown outcome is asked about until it is known: an admin that forgets a topic would
make every check of it meaningless.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import trio
from kio.schema.errors import ErrorCode

from libs.concurrency.rand import Rand
from libs.model.cluster import Topic
from libs.model.errors import KafscaleError
from libs.model.ids import Partition, TopicId, TopicName, TopicPartition
from services.gateway.handlers.registry import HANDLERS
from tests.sim.actors.client import Client
from tests.sim.actors.kafka import Gone, request, seconds
from tests.sim.actors.workload import Workload
from tests.sim.events import (
    DeleteRecordsAcked,
    DeleteRecordsAsked,
    TopicCreateAsked,
    TopicCreated,
    TopicDeleteAsked,
    TopicDeleted,
)
from tests.sim.world.world import World

FIRST_TOPIC: Final = "t0"
TOPICS_MAX: Final = 3
TOPIC_CONFIGS: Final[tuple[Mapping[str, str], ...]] = (
    MappingProxyType({}),
    MappingProxyType({}),
    MappingProxyType({"retention.ms": "20000"}),
    MappingProxyType({"retention.bytes": "4000"}),
    MappingProxyType({"message.timestamp.type": "LogAppendTime"}),
)


class Admin(Client):
    """One admin client."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._deleted: list[TopicId] = []

    def drawn_configs(self, rand: Rand) -> Mapping[str, str]:
        """Of a topic to be created."""
        configs = rand.choice(TOPIC_CONFIGS)
        if self.world.plan.clocks_jump and "retention.ms" in configs:
            return {}
        return configs

    async def create(self, name: str, partitions: int, configs: Mapping[str, str] | None = None) -> Topic:
        """Creates the topic, or finds that it was created by an attempt whose answer was lost."""
        history = self.world.history
        first = -1
        while True:
            call = history.add(
                self.name, TopicCreateAsked(topic=name, partitions=partitions, configs=configs or {})
            )
            first = call if first < 0 else first
            self.world.operation("create_topic")
            try:
                topic = await self._create_once(name, partitions, configs or {}, call, first)
            except Gone:
                self.disconnect()
                topic = None
            if topic is not None:
                self.world.topics[name] = topic
                return topic
            await self.pause()

    async def _create_once(
        self, name: str, partitions: int, configs: Mapping[str, str], call: int, first: int
    ) -> Topic | None:
        connection = await self.connection()
        wanted = {
            "name": name,
            "num_partitions": partitions,
            "replication_factor": -1,
            "configs": [{"name": key, "value": value} for key, value in configs.items()],
        }
        answer = await connection.ask(
            "create_topics", request("create_topics", topics=[wanted], timeout=seconds(5.0)), seconds_max=20.0
        )
        (told,) = answer.topics
        if told.error_code is ErrorCode.none:
            topic_id = told.topic_id
        elif told.error_code is ErrorCode.topic_already_exists:
            found = await self._find(name)
            if found is None or found.topic_id in self._deleted:
                return None  # a gateway that has not heard of its deletion yet
            topic_id, call = found.topic_id, first
        else:
            return None
        topic = Topic(name=TopicName(name), topic_id=topic_id, partitions=partitions, configs=dict(configs))
        self.world.history.add(
            self.name, TopicCreated(topic=name, topic_id=topic_id, partitions=partitions, call=call)
        )
        return topic

    async def _find(self, name: str) -> Any:
        connection = await self.connection()
        asked = request("metadata", topics=[{"topic_id": None, "name": name}])
        answer = await connection.ask("metadata", asked)
        (told,) = answer.topics
        return told if told.error_code is ErrorCode.none else None

    async def delete(self, topic: Topic) -> None:
        """Deletes it by its id; an attempt whose answer was lost is asked again."""
        history = self.world.history
        self.world.topics.pop(topic.name, None)
        self._deleted.append(topic.topic_id)
        while True:
            call = history.add(self.name, TopicDeleteAsked(topic=topic.name, topic_id=topic.topic_id))
            self.world.operation("delete_topic")
            try:
                connection = await self.connection()
                wanted = {"topic_id": topic.topic_id, "name": None}
                asked = request("delete_topics", topics=[wanted], timeout=seconds(5.0))
                answer = await connection.ask("delete_topics", asked, seconds_max=20.0)
            except Gone:
                self.disconnect()
            else:
                if answer.responses[0].error_code in (ErrorCode.none, ErrorCode.unknown_topic_id):
                    history.add(self.name, TopicDeleted(call=call))
                    return
            await self.pause()

    async def delete_records(self, topic: Topic, index: int, before: int) -> None:
        """Once: what has an unknown outcome may happen later."""
        tp = TopicPartition(topic.topic_id, Partition(index))
        part = {"partition_index": index, "offset": before}
        asked = request(
            "delete_records",
            topics=[{"name": topic.name, "partitions": [part]}],
            timeout=seconds(5.0),
        )
        call = self.world.history.add(self.name, DeleteRecordsAsked(tp=tp, before=before))
        self.world.operation("delete_records")
        try:
            connection = await self.connection()
            answer = await connection.ask("delete_records", asked, seconds_max=20.0)
        except Gone:
            self.disconnect()
            return
        (told,) = answer.topics[0].partitions
        if told.error_code is ErrorCode.none:
            acked = DeleteRecordsAcked(call=call, log_start=told.low_watermark)
            self.world.history.add(self.name, acked)


class AdminLoop:
    """What an admin does all day. All topics but the first may be deleted and made anew."""

    def __init__(self, world: World, admin: Admin, workload: Workload) -> None:
        self._world = world
        self._admin = admin
        self._workload = workload
        self._rand = world.rand("admin-loop")
        self._names = 0

    async def run(self) -> None:
        """Until the world is done."""
        actions: list[Callable[[], Awaitable[None]]] = [
            self._create,
            self._delete,
            self._delete,
            self._drain,
            self._drain,
        ]
        if 21 in HANDLERS:
            actions += [self._delete_records, self._delete_records, self._delete_records]
        while not self._world.done:
            await trio.sleep(self._rand.uniform(0.5, 6.0))
            await self._rand.choice(actions)()

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
        await self._admin.delete(topic)
        if self._rand.random() < 0.7:  # promise 8 is about this
            await self._make(topic.name)

    async def _drain(self) -> None:
        """Moves some partitions away from an owner."""
        owners = [each for each in self._world.owners() if each.service is not None and each.ready.is_set()]
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
