"""Topics as clients name them: names, look-up, creation on first use.

Owns: what a topic name may be, one creation at a time of each name, waiting until the view shows it.
Does not own: topics themselves (metadata).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import trio

from libs.clients.metadata import MetadataClient, TopicToCreate
from libs.clients.topic_updates import UpdatedTopic
from libs.clients.view import ClusterView
from libs.clients.watcher import ClusterWatcher
from libs.model.cluster import Topic
from libs.model.errors import Invalid, KafscaleError, NotFound, Reason, Unavailable
from libs.model.ids import Partition, Revision, TopicId, TopicName, TopicPartition
from libs.model.limits import TOPIC_NAME_LENGTH_MAX

_DEFAULT_PARTITIONS: Final = -1
_LEGAL: Final = re.compile(r"[a-zA-Z0-9._-]+")
_CREATE_SECONDS: Final = 5.0
_SHOWN_SECONDS: Final = 5.0
CREATED_AT_ONCE_MAX: Final = 100
"""Topics that one request may create on first use."""


def check_topic_name(name: str) -> TopicName:
    """Raises Invalid(INVALID_TOPIC_NAME); the rules are Kafka's (org.apache.kafka.common.internals.Topic)."""
    if not name or name in (".", ".."):
        problem = f"{name!r} can't be the name of a topic"
    elif len(name) > TOPIC_NAME_LENGTH_MAX:
        problem = f"a topic name has at most {TOPIC_NAME_LENGTH_MAX} characters, this one has {len(name)}"
    elif not _LEGAL.fullmatch(name):
        problem = f"{name!r} is no topic name: only ASCII letters, digits, '.', '_' and '-' are allowed"
    else:
        return TopicName(name)
    raise Invalid(problem, reason=Reason.INVALID_TOPIC_NAME)


class Topics:
    def __init__(self, *, watcher: ClusterWatcher, metadata: MetadataClient) -> None:
        self._watcher = watcher
        self._metadata = metadata
        self._creating: dict[TopicName, trio.Event] = {}

    def find(self, name: str | None, topic_id: UUID | None) -> Topic:
        """By id where there is one, else by name. Raises NotFound, Invalid for a name that is none."""
        view = self._watcher.view
        if topic_id is not None and topic_id.int:
            topic = view.topics.get(TopicId(topic_id))
            if topic is None:
                raise NotFound(f"no topic has the id {topic_id}", reason=Reason.UNKNOWN_TOPIC_ID)
            return topic
        topic = view.topics_by_name.get(TopicName(name or ""))
        if topic is None:
            check_topic_name(name or "")
            raise NotFound(f"there is no topic {name!r}")
        return topic

    def partition(self, topic: Topic, index: int) -> TopicPartition:
        """Raises NotFound where the topic has no such partition."""
        if not 0 <= index < topic.partitions:
            raise NotFound(f"topic {topic.name!r} has partitions 0 to {topic.partitions - 1}, not {index}")
        return TopicPartition(topic.topic_id, Partition(index))

    async def create_missing(self, names: Iterable[TopicName]) -> dict[TopicName, KafscaleError]:
        """Creates those that do not exist and waits until the view shows them; what failed, and why."""
        view = self._watcher.view
        missing = [name for name in dict.fromkeys(names) if name not in view.topics_by_name]
        mine = [name for name in missing if name not in self._creating][:CREATED_AT_ONCE_MAX]
        others = [self._creating[name] for name in missing if name in self._creating]
        failures = await self._create(mine) if mine else {}
        for created in others:
            await created.wait()
        return failures

    async def wait_shown(self, topic_ids: Iterable[TopicId]) -> None:
        """Waits, within a bound, until the view shows the topics with all their partitions assigned."""
        wanted = list(topic_ids)
        with trio.move_on_after(_SHOWN_SECONDS):
            await self._watcher.wait_until(lambda view: all(_assigned(view, each) for each in wanted))

    async def wait_updated(self, topics: Sequence[UpdatedTopic]) -> None:
        """Waits, within a bound, until the view shows the topics as they became, all partitions assigned."""
        reached = max((each.revision for each in topics), default=Revision(0))
        wanted = [each.topic.topic_id for each in topics]
        with trio.move_on_after(_SHOWN_SECONDS):
            await self._watcher.wait_until(lambda view: view.revision >= reached)
            # One that was deleted meanwhile is not waited for.
            await self._watcher.wait_until(
                lambda view: all(_assigned(view, each) for each in wanted if each in view.topics)
            )

    async def wait_hidden(self, topic_ids: Iterable[TopicId]) -> None:
        """Waits, within a bound, until the view shows none of the topics any more."""
        wanted = list(topic_ids)
        with trio.move_on_after(_SHOWN_SECONDS):
            await self._watcher.wait_until(lambda view: not any(each in view.topics for each in wanted))

    async def _create(self, names: list[TopicName]) -> dict[TopicName, KafscaleError]:
        done = trio.Event()
        self._creating.update((name, done) for name in names)
        try:
            wanted = [TopicToCreate(name=name, partitions=_DEFAULT_PARTITIONS, configs={}) for name in names]
            try:
                results = await self._metadata.create_topics(
                    wanted, validate_only=False, timeout_seconds=_CREATE_SECONDS
                )
            except Unavailable as error:
                return dict.fromkeys(names, error)
            created = [each.topic_id for each in results if isinstance(each, Topic)]
            await self.wait_shown(created)
            return {
                name: result
                for name, result in zip(names, results, strict=True)
                if isinstance(result, KafscaleError) and result.reason is not Reason.TOPIC_ALREADY_EXISTS
            }
        finally:
            for name in names:
                del self._creating[name]
            done.set()


def _assigned(view: ClusterView, topic_id: TopicId) -> bool:
    topic = view.topics.get(topic_id)
    return topic is not None and all(
        TopicPartition(topic_id, Partition(index)) in view.assignments for index in range(topic.partitions)
    )
