"""Writes what the bucket says about topics: an object before the first record, and one for each change.

Owns: topic objects in the store, which of them this process knows. Does not own: their bytes
(libs/segments/topic_object.py), tombstones (collection).
Rules: 1 the object of a topic is in the store before a partition of it is opened for the first time, so
before its first record; 2 one PUT for a topic: who opens its next partition, or takes one over, writes
nothing; 3 changes are written by one owner (archive.py), under numbers taken by conditional PUTs.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace

import structlog
import trio

from libs.concurrency.clock import Clock
from libs.concurrency.single_flight import SingleFlight
from libs.model.cluster import Topic
from libs.model.errors import Corrupt, NotFound
from libs.model.ids import TopicId
from libs.objectstore.port import ObjectStore, PutResult
from libs.segments.keys import (
    TOPIC_OBJECTS_PREFIX,
    TopicObjectName,
    parse_topic_object_key,
    topic_object_key,
    topic_objects_prefix,
)
from libs.segments.topic_object import TopicObject, encode_topic_object, parse_topic_object
from services.partition_owner.parallel import for_each

_KNOWN_MAX = 100_000
_AT_ONCE_MAX = 8

log = structlog.get_logger(__name__)


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
        """Returns once the topic's newest object says what `topic` does. Raises Unavailable."""
        wanted = self._object(topic, 0)
        known = self._known.get(topic.topic_id)
        while known is None or not known.says_the_same_as(wanted):
            newest = (await self._newest(topic_objects_prefix(topic.topic_id))).get(topic.topic_id)
            known = None if newest is None else await self._get(newest)
            if known is not None and known.says_the_same_as(wanted):
                self._remember(topic.topic_id, known)
            elif await self._put(replace(wanted, n=0 if newest is None else newest.n + 1)):
                return

    async def learn(self, topic_ids: Collection[TopicId]) -> None:
        """Reads what the bucket says of these topics: others may have said more since. Raises Unavailable."""
        newest = await self._newest(TOPIC_OBJECTS_PREFIX)

        async def read(topic_id: TopicId) -> None:
            self._remember(topic_id, await self._get(newest[topic_id]))

        await for_each([each for each in topic_ids if each in newest], read, at_once_max=_AT_ONCE_MAX)

    async def _newest(self, prefix: str) -> dict[TopicId, TopicObjectName]:
        """The last object of each topic below the prefix."""
        found: dict[TopicId, TopicObjectName] = {}
        after = ""
        while True:
            page = await self._store.list(prefix, start_after=after)
            for each in page.objects:
                after = each.key
                name = parse_topic_object_key(each.key)
                if name is not None:
                    found[name.topic_id] = name
            if not page.truncated:
                return found

    async def _get(self, name: TopicObjectName) -> TopicObject | None:
        """None where it says nothing: it is damaged, or somebody deleted it."""
        key = topic_object_key(name)
        try:
            return parse_topic_object(await self._store.get(key))
        except NotFound:
            return None
        except Corrupt as error:
            # What is known is written anew, beside it: nothing is lost, and one topic is no trouble of all.
            log.error("topic_object_corrupt", key=key, error=error.message)
            return None

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
