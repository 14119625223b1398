"""Who produces to and consumes from which topic, from the first topic to the end of the run.

Owns: the actors of each topic, the groups. Does not own: topics (admin.py).
"""

import trio

from libs.model.cluster import Topic
from libs.model.ids import GroupId
from tests.sim.actors.consumer import Consumer
from tests.sim.actors.member import Group, GroupMember
from tests.sim.actors.producer import Producer
from tests.sim.world.world import World


class Workload:
    """`attend` a topic that was created, `leave` one that is to be deleted."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        self.world = world
        self.groups: list[Group] = []
        self._nursery = nursery
        self._rand = world.rand("workload")
        self._number = 0
        self._producers: dict[str, list[Producer]] = {}
        self._consumers: dict[str, list[Consumer]] = {}

    def attend(self, topic: Topic, *, producers: int, consumers: int, since: int = 0) -> None:
        """Starts producers and consumers of the topic, of its partitions from `since` on."""
        among = range(since, topic.partitions)
        for _ in range(producers):
            self._producers.setdefault(topic.name, []).append(self._producer(topic, among))
        for _ in range(consumers):
            self._number += 1
            consumer = Consumer(self.world, f"c{self._number}", topic, self._some(len(among), among))
            self._consumers.setdefault(topic.name, []).append(consumer)
            self._nursery.start_soon(consumer.live)

    def leave(self, topic: Topic) -> None:
        """Its actors end; what they sent may still arrive."""
        for producer in self._producers.pop(topic.name, []):
            producer.retired = True
        for consumer in self._consumers.pop(topic.name, []):
            consumer.retired = True

    def join(self, name: str, members: int) -> None:
        """Starts a group."""
        group = Group(GroupId(name))
        self.groups.append(group)
        for index in range(members):
            self._nursery.start_soon(GroupMember(self.world, f"{name}-{index}", group).live)

    def _producer(self, topic: Topic, among: range) -> Producer:
        self._number += 1
        kind = self._rand.random()
        idempotent = kind < 0.7
        producer = Producer(
            self.world,
            f"p{self._number}",
            topic,
            self._some(min(len(among), 2) if idempotent else 1, among),
            idempotent=idempotent,
            acks=-1 if idempotent else self._rand.choice((-1, 1, 1, 0)),
            in_flight_max=self._rand.choice((1, 2, 5, 5)),
        )
        self._nursery.start_soon(producer.live)
        return producer

    def _some(self, count_max: int, among: range) -> list[int]:
        left = list(among)
        found = []
        for _ in range(self._rand.integer(1, count_max)):
            found.append(self._rand.choice(left))
            left.remove(found[-1])
        return sorted(found)
