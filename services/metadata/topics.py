"""Topics: created with checks, changed under a guard, deleted in one transaction that a new topic can't undo.

Owns: the keys TOPICS, and putting DELETING. Does not own: what may change (topic_changes.py), assignments and
cleaning up (controller.py).
Rules: 1 a name is taken by the transaction that finds it free: of two creators one wins; 2 deleting moves the
topic's value to its id, so that what is left of it is found whatever happens to the name (promise 8); 3 a
change compares the topic that it was decided on; it only says how many partitions there are, and the
controller gives those without an owner one, whoever has died meanwhile.
Names follow Kafka's org.apache.kafka.common.internals.Topic.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import trio

from libs.clients.metadata import TopicToCreate
from libs.clients.topic_updates import TopicUpdate, UpdatedTopic
from libs.concurrency.clock import Clock
from libs.concurrency.rand import Rand
from libs.model.cluster import Topic
from libs.model.errors import Fenced, Invalid, KafscaleError, NotFound, Reason, Unavailable
from libs.model.ids import TopicId, TopicName
from libs.model.limits import PARTITIONS_PER_TOPIC_MAX, TOPIC_NAME_LENGTH_MAX
from libs.model.topic_configs import check_topic_configs
from services.metadata import keys, stored
from services.metadata.cache import Cache
from services.metadata.kv.port import ABSENT, KV, Delete, ModRevisionIs, Put
from services.metadata.paging import read_all
from services.metadata.stored import DeletedTopic, Stored
from services.metadata.topic_changes import changed
from services.metadata.writes import ATTEMPTS_MAX, contended, read_after, write

_NAME = re.compile(r"[a-zA-Z0-9._-]+")
PARTITIONS_DEFAULT = -1
TOPICS_PER_REQUEST_MAX = 1000
_GETS_MAX = 4
"""Of more names, or of ids, all topics are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    name: TopicName
    topic_id: TopicId


def check_topic_name(name: str) -> None:
    """Raises Invalid(INVALID_TOPIC_NAME)."""
    problem = ""
    if not name:
        problem = "it is empty"
    elif name in {".", ".."}:
        problem = "it can't be '.' or '..'"
    elif len(name) > TOPIC_NAME_LENGTH_MAX:
        problem = f"it has {len(name)} characters, at most {TOPIC_NAME_LENGTH_MAX} are allowed"
    elif not _NAME.fullmatch(name):
        problem = "only ASCII letters and digits, '.', '_' and '-' are allowed"
    if problem:
        raise Invalid(f"{name[:300]!r} is no topic name: {problem}", reason=Reason.INVALID_TOPIC_NAME)


def _is_topic_name(name: str) -> bool:
    try:
        check_topic_name(name)
    except Invalid:
        return False
    return True


class Topics:
    def __init__(self, *, kv: KV, cache: Cache, clock: Clock, rand: Rand, partitions_default: int) -> None:
        self._kv = kv
        self._cache = cache
        self._clock = clock
        self._rand = rand
        self._partitions_default = partitions_default

    async def get(self, wanted: Iterable[TopicName | TopicId]) -> list[Topic]:
        """Those that exist, each once, as the store has them after this was called. Raises Unavailable."""
        asked = set(wanted)
        names = [name for name in asked if isinstance(name, str)]
        if len(names) == len(asked) <= _GETS_MAX:
            # Not by the cache: it may be seconds before that knows that it has missed nothing.
            found = [await self._kv.get(keys.topic(name)) for name in names if _is_topic_name(name)]
            items = [item for item in found if item is not None]
        else:
            try:
                items = await read_all(self._kv, keys.TOPICS)
            except Fenced as error:
                raise Unavailable(f"the topics can't be read: {error.message}") from error
        topics = [stored.topic(item).value for item in items]
        return [topic for topic in topics if topic.name in asked or topic.topic_id in asked]

    async def missing(self, topics: Iterable[TopicId]) -> frozenset[TopicId]:
        """Those that do not exist by the store, or by what this replica has heard. Raises Unavailable."""
        asked = frozenset(topics)
        if asked <= self._cache.state.topics_by_id.keys():
            return frozenset()
        return asked - {topic.topic_id for topic in await self.get(asked)}

    async def create(
        self, wanted: Sequence[TopicToCreate], *, validate_only: bool, timeout_seconds: float
    ) -> list[Topic | KafscaleError]:
        """One answer a topic, in order; each waits until its partitions are assigned, within the timeout.

        Answers: Invalid (INVALID_TOPIC_NAME, INVALID_PARTITIONS, INVALID_CONFIG, TOPIC_ALREADY_EXISTS),
        Unavailable(TIMED_OUT) for a topic that exists and has no owners yet. A timeout of 0 does not wait.
        """
        if len(wanted) > TOPICS_PER_REQUEST_MAX:
            raise Invalid(f"{len(wanted)} topics in a request; at most {TOPICS_PER_REQUEST_MAX} are allowed")
        times = Counter(topic.name for topic in wanted)
        answers: list[Topic | KafscaleError] = []
        for topic in wanted:
            try:
                if times[topic.name] > 1:
                    raise Invalid(f"the request names topic {topic.name!r} more than once")
                answers.append(await self._create_one(topic, validate_only=validate_only))
            except KafscaleError as error:
                answers.append(error)
        if validate_only or timeout_seconds <= 0:
            return answers
        with trio.move_on_after(timeout_seconds):
            for answer in answers:
                if isinstance(answer, Topic):
                    await self._wait_live(answer)
        return [self._outcome(each) if isinstance(each, Topic) else each for each in answers]

    async def _create_one(self, wanted: TopicToCreate, *, validate_only: bool) -> Topic:
        topic = self._checked(wanted)
        key = keys.topic(topic.name)
        taken = Invalid(f"topic {topic.name!r} exists already", reason=Reason.TOPIC_ALREADY_EXISTS)
        if validate_only or topic.name in self._cache.state.topics:
            # The cache may be behind: a refusal is read from the store itself.
            if await self._kv.get(key) is not None:
                raise taken
            if validate_only:
                return topic
        put = Put(key=key, value=stored.topic_bytes(topic))
        if await write(self._kv, [ModRevisionIs(key=key, revision=ABSENT)], [put]) is None:
            raise taken
        return topic

    def _checked(self, wanted: TopicToCreate) -> Topic:
        check_topic_name(wanted.name)
        partitions = wanted.partitions
        if partitions == PARTITIONS_DEFAULT:
            partitions = self._partitions_default
        if not 1 <= partitions <= PARTITIONS_PER_TOPIC_MAX:
            raise Invalid(
                f"topic {wanted.name!r} wants {partitions} partitions; "
                f"1 to {PARTITIONS_PER_TOPIC_MAX} are possible",
                reason=Reason.INVALID_PARTITIONS,
            )
        check_topic_configs(wanted.configs)
        return Topic(
            name=wanted.name,
            topic_id=TopicId(self._rand.uuid()),
            partitions=partitions,
            configs=dict(wanted.configs),
            live=False,
            created_ms=self._clock.now_ms(),
        )

    async def _wait_live(self, topic: Topic) -> None:
        seen = False
        while True:
            now = self._cache.state.topics_by_id.get(topic.topic_id)
            seen = seen or now is not None
            if now.value.live if now is not None else seen:
                return  # live, or deleted meanwhile
            await self._cache.wait_changed()

    def _outcome(self, created: Topic) -> Topic | KafscaleError:
        now = self._cache.state.topics_by_id.get(created.topic_id)
        if now is not None and now.value.live:
            return now.value
        return Unavailable(
            f"topic {created.name!r} was created but has no partition owners yet", reason=Reason.TIMED_OUT
        )

    async def update(self, wanted: TopicUpdate, *, validate_only: bool) -> UpdatedTopic:
        """Decides on the topic as it is in the store, and writes where something changes.

        Raises NotFound, Invalid (INVALID_PARTITIONS, INVALID_CONFIG), Fenced(GUARD_FAILED) where others
        change it all the time, Unavailable: with outcome_unknown only where reading back could not tell.
        """
        check_topic_name(wanted.name)
        for _ in range(ATTEMPTS_MAX):
            found = await self._find_named(wanted.name, wanted.topic_id)
            topic = changed(found.value, wanted)
            if validate_only or topic is found.value:
                return UpdatedTopic(topic=topic, revision=found.revision, changed=topic is not found.value)
            done = await self._replace(found, topic)
            if done is not None:
                return UpdatedTopic(topic=done.value, revision=done.revision, changed=True)
        raise contended(f"topic {wanted.name!r}")

    async def _replace(self, found: Stored[Topic], topic: Topic) -> Stored[Topic] | None:
        """None where the topic is not the one that was found any more."""
        key = keys.topic(topic.name)
        try:
            guard = ModRevisionIs(key=key, revision=found.revision)
            revision = await write(self._kv, [guard], [Put(key=key, value=stored.topic_bytes(topic))])
        except Unavailable as error:
            # It happened, too, where the controller has written that the topic is live on top of it.
            item = await read_after(error, self._kv, key)
            now = None if item is None else stored.topic(item)
            if now is None or now.revision == found.revision or replace(now.value, live=topic.live) != topic:
                raise
            return now
        return None if revision is None else Stored(value=topic, revision=revision)

    async def delete(self, wanted: Sequence[TopicName | TopicId]) -> list[Removed | KafscaleError]:
        """By name or by id; one answer a topic, in order."""
        answers: list[Removed | KafscaleError] = []
        for which in wanted:
            try:
                answers.append(await self._delete_one(which))
            except KafscaleError as error:
                answers.append(error)
        return answers

    async def _delete_one(self, which: TopicName | TopicId) -> Removed:
        for _ in range(ATTEMPTS_MAX):
            found = await self._find(which)
            topic = found.value
            compares = [ModRevisionIs(key=keys.topic(topic.name), revision=found.revision)]
            deleted = DeletedTopic(
                topic=replace(topic, live=False), deleted_ms=self._clock.now_ms(), partitions_removed=False
            )
            put = Put(key=keys.deleting(topic.topic_id), value=stored.deleted_topic_bytes(deleted))
            revision = await write(self._kv, compares, [put, Delete(key=keys.topic(topic.name))])
            if revision is not None:
                return Removed(name=topic.name, topic_id=topic.topic_id)
        raise contended(f"topic {which}")

    async def _find_named(self, name: TopicName, topic_id: TopicId | None) -> Stored[Topic]:
        item = await self._kv.get(keys.topic(name))
        found = None if item is None else stored.topic(item)
        if topic_id is not None and (found is None or found.value.topic_id != topic_id):
            raise NotFound(
                f"topic {name!r} with id {topic_id} is no more: look the name up again",
                reason=Reason.UNKNOWN_TOPIC_ID,
            )
        if found is None:
            raise NotFound(f"there is no topic {name!r}", reason=Reason.UNKNOWN_TOPIC_OR_PARTITION)
        return found

    async def _find(self, which: TopicName | TopicId) -> Stored[Topic]:
        if isinstance(which, str):
            return await self._find_named(which, None)
        if which not in self._cache.state.topics_by_id:
            await self._cache.catch_up()
        known = self._cache.state.topics_by_id.get(which)
        item = None if known is None else await self._kv.get(keys.topic(known.value.name))
        found = None if item is None else stored.topic(item)
        if found is None or found.value.topic_id != which:
            raise NotFound(f"there is no topic with id {which}", reason=Reason.UNKNOWN_TOPIC_ID)
        return found
