"""The admin: topics come and go, records are deleted, owners are drained.

Owns: what the world knows of topics. Does not own: faults (nemesis.py).
Rules: 1 what has an unknown outcome is asked about until it is known: an admin that forgets a topic would
make every check of it meaningless.
"""

from collections.abc import Mapping
from typing import Any

from kio.schema.errors import ErrorCode

from libs.model.cluster import Topic
from libs.model.ids import TopicName
from tests.sim.actors.client import Client
from tests.sim.actors.kafka import Gone, request, seconds
from tests.sim.events import TopicCreateAsked, TopicCreated


class Admin(Client):
    """One admin client."""

    async def create(self, name: str, partitions: int, configs: Mapping[str, str] | None = None) -> Topic:
        """Creates the topic, or finds that it was created by an attempt whose answer was lost."""
        history = self.world.history
        while True:
            call = history.add(
                self.name, TopicCreateAsked(topic=name, partitions=partitions, configs=configs or {})
            )
            self.world.operation("create_topic")
            try:
                topic = await self._create_once(name, partitions, configs or {}, call)
            except Gone:
                self.disconnect()
                topic = None
            if topic is not None:
                self.world.topics[name] = topic
                return topic
            await self.pause()

    async def _create_once(
        self, name: str, partitions: int, configs: Mapping[str, str], call: int
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
            if found is None:
                return None
            topic_id, call = found.topic_id, -1
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
