"""The admin: topics come, change and go, records are deleted.

Owns: what the world knows of topics. Does not own: what is done when (admin_loop.py), faults (nemesis.py).
Rules: 1 what has an unknown outcome is asked about until it is known: an admin that forgets a topic would
make every check of it meaningless; 2 configs are changed both retentions at once: so what a change comes to
does not depend on an earlier one of unknown outcome.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from kio.schema.errors import ErrorCode

from libs.concurrency.rand import Rand
from libs.model.cluster import Topic
from libs.model.ids import Partition, TopicId, TopicName, TopicPartition
from tests.sim.actors.client import Client
from tests.sim.actors.kafka import Gone, request, seconds
from tests.sim.events import (
    ConfigsAcked,
    ConfigsAsked,
    DeleteRecordsAcked,
    DeleteRecordsAsked,
    GrowthAcked,
    GrowthAsked,
    TopicCreateAsked,
    TopicCreated,
    TopicDeleteAsked,
    TopicDeleted,
)
from tests.sim.world.world import World

FIRST_TOPIC: Final = "t0"
TOPIC_CONFIGS: Final[tuple[Mapping[str, str], ...]] = (
    MappingProxyType({}),
    MappingProxyType({}),
    MappingProxyType({"retention.ms": "20000"}),
    MappingProxyType({"retention.bytes": "4000"}),
    MappingProxyType({"message.timestamp.type": "LogAppendTime"}),
)


_SET: Final = 0
_DELETE: Final = 1
"""Kafka's AlterConfigOp.OpType."""
_RETENTIONS: Final = ("retention.ms", "retention.bytes")


class Admin(Client):
    """One admin client: asks one thing at a time."""

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

    def _is_there(self, topic: Topic) -> bool:
        """Whether it was not deleted, as far as the admins know."""
        known = self.world.topics.get(topic.name)
        return known is not None and known.topic_id == topic.topic_id

    def _changed(self, topic: Topic, **changes: Any) -> None:
        if self._is_there(topic):
            self.world.topics[topic.name] = replace(self.world.topics[topic.name], **changes)

    async def alter_configs(self, topic: Topic, retentions: Mapping[str, str]) -> None:
        """Sets these retentions and no others, until that is acknowledged or the topic is gone."""
        kept = {name: value for name, value in topic.configs.items() if name not in _RETENTIONS}
        configs = {**kept, **retentions}
        changes = [
            {
                "name": name,
                "config_operation": _SET if name in retentions else _DELETE,
                "value": retentions.get(name),
            }
            for name in _RETENTIONS
        ]
        wanted = {"resource_type": 2, "resource_name": topic.name, "configs": changes}
        while self._is_there(topic):
            call = self.world.history.add(
                self.name, ConfigsAsked(topic_id=topic.topic_id, topic=topic.name, configs=configs)
            )
            self.world.operation("alter_configs")
            try:
                connection = await self.connection()
                answer = await connection.ask(
                    "incremental_alter_configs",
                    request("incremental_alter_configs", resources=[wanted]),
                    seconds_max=20.0,
                )
            except Gone:
                self.disconnect()
            else:
                if answer.responses[0].error_code == ErrorCode.none:
                    self.world.history.add(self.name, ConfigsAcked(call=call))
                    self._changed(topic, configs=configs)
                    return
            await self.pause()

    async def grow(self, topic: Topic, partitions: int) -> bool:
        """Asks for so many partitions until that is acknowledged or refused, or the topic is gone; whether it
        has them."""
        wanted = {"name": topic.name, "count": partitions, "assignments": None}
        asked = request("create_partitions", topics=[wanted], timeout=seconds(5.0))
        while self._is_there(topic):
            call = self.world.history.add(
                self.name, GrowthAsked(topic_id=topic.topic_id, topic=topic.name, partitions=partitions)
            )
            self.world.operation("create_partitions")
            try:
                connection = await self.connection()
                answer = await connection.ask("create_partitions", asked, seconds_max=20.0)
                code = answer.results[0].error_code
                if code == ErrorCode.invalid_partitions:
                    if partitions < topic.partitions:
                        return False
                    # An earlier attempt may have done it, and its answer was lost.
                    told = await self._find(topic.name)
                    done = told is not None and told.topic_id == topic.topic_id
                    code = ErrorCode.none if done and len(told.partitions) >= partitions else code
            except Gone:
                self.disconnect()
            else:
                if code == ErrorCode.none:
                    self.world.history.add(self.name, GrowthAcked(call=call))
                    self._changed(topic, partitions=partitions)
                    return True
            await self.pause()
        return False

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
