"""Writes what the bucket says about topics: an object before the first record, and one for each change.

Owns: topic objects in the store, which of them this process knows. Does not own: their bytes
(libs/segments/topic_object.py), tombstones (collection).
Rules: 1 the object of a topic is in the store before a partition of it is opened for the first time, so
before its first record; 2 one PUT for a topic: who opens its next partition, or takes one over, writes
nothing; 3 changes are written by one owner (archive.py), under numbers taken by conditional PUTs.
"""

from collections import OrderedDict
from dataclasses import replace

import structlog
import trio

from libs.concurrency.clock import Clock
from libs.concurrency.single_flight import SingleFlight
from libs.model.cluster import Topic
from libs.model.ids import TopicId
from libs.objectstore.port import ObjectStore, PutResult
from libs.segments.keys import (
    TOPIC_OBJECTS_PREFIX,
    TopicObjectName,
    parse_topic_object_key,
    topic_object_key,
    topic_objects_prefix,
)
from libs.segments.topic_object import (
    TopicObject,
    encode_topic_object,
    parse_topic_object,
)

_KNOWN_MAX = 100_000
_AT_ONCE_MAX = 8

log = structlog.get_logger(__name__)


async def newest_topic_object(store: ObjectStore, topic_id: TopicId) -> TopicObject | None:
    """The last that was said about a topic. Raises Corrupt."""
    prefix, after, newest = topic_objects_prefix(topic_id), "", ""
    while True:
        page = await store.list(prefix, start_after=after)
        for found in page.objects:
            after = found.key
            if parse_topic_object_key(found.key) is not None:
                newest = found.key
        if not page.truncated:
            return parse_topic_object(await store.get(newest)) if newest else None


class TopicObjects:
    """What this process said, or saw said, about topics. `nursery` outlives the callers."""

    def __init__(self, *, store: ObjectStore, clock: Clock, nursery: trio.Nursery) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[TopicId, TopicObject | None] = OrderedDict()
        """Topics that have an object; None: what it says is not known."""
        self._flights: SingleFlight[TopicId, None] = SingleFlight(nursery, runs_max=_AT_ONCE_MAX)
        self.written = 0
        """Objects that this process wrote."""

    async def ensure_exists(self, topic: Topic) -> None:
        """Returns once the store has an object of the topic, whatever its number. Raises Unavailable."""
        if topic.topic_id not in self._known:
            await self._flights.run(topic.topic_id, lambda: self._write_first(topic))

    async def ensure_current(self, topic: Topic) -> None:
        """Returns once the topic's newest object says what `topic` does. Raises Unavailable, Corrupt."""
        wanted = self._object(topic, 0)
        known = self._known.get(topic.topic_id)
        while known is None or not known.says_the_same_as(wanted):
            known = await newest_topic_object(self._store, topic.topic_id)
            if known is not None and known.says_the_same_as(wanted):
                self._remember(topic.topic_id, known)
            elif await self._put(replace(wanted, n=0 if known is None else known.n + 1)):
                return

    def knows(self, topic_id: TopicId) -> bool:
        return topic_id in self._known

    def assume(self, topic: Topic) -> None:
        """The topic has an object, which may be taken for current."""
        self._remember(topic.topic_id, self._object(topic, 0))

    async def listed(self) -> frozenset[TopicId]:
        """Topics that have an object."""
        found: set[TopicId] = set()
        after = ""
        while True:
            page = await self._store.list(TOPIC_OBJECTS_PREFIX, start_after=after)
            for each in page.objects:
                after = each.key
                name = parse_topic_object_key(each.key)
                if name is not None:
                    found.add(name.topic_id)
            if not page.truncated:
                return frozenset(found)

    async def _write_first(self, topic: Topic) -> None:
        # Nearly always nothing is there yet: the PUT is the question.
        if not await self._put(self._object(topic, 0)):
            self._remember(topic.topic_id, None)

    async def _put(self, topic: TopicObject) -> bool:
        """False where the number is taken."""
        key = topic_object_key(TopicObjectName(topic.topic_id, topic.n))
        if await self._store.put_if_absent(key, encode_topic_object(topic)) is PutResult.EXISTS:
            return False
        self.written += 1
        self._remember(topic.topic_id, topic)
        log.info("topic_object_written", topic=topic.name, topic_id=str(topic.topic_id), n=topic.n)
        return True

    def _object(self, topic: Topic, n: int) -> TopicObject:
        return TopicObject(
            topic_id=topic.topic_id,
            n=n,
            name=topic.name,
            partitions=topic.partitions,
            created_ms=topic.created_ms,
            written_ms=self._clock.now_ms(),
            configs=dict(topic.configs),
        )

    def _remember(self, topic_id: TopicId, topic: TopicObject | None) -> None:
        self._known[topic_id] = topic
        self._known.move_to_end(topic_id)
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
