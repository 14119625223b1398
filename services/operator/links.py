"""Topics of each cluster through its metadata service: a client and a watch for each, opened on first use.

Owns: the connections and their lives, TopicsApi over them. Does not own: what is done (topics.py).
Rules: 1 a cluster that is gone has no link; 2 who asks waits seconds for the first snapshot, no more.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import trio

from libs.clients.metadata import MetadataClient, TopicToCreate, open_metadata_client
from libs.clients.topic_updates import TopicUpdate
from libs.clients.watcher import ClusterWatcher, Connect, open_watcher
from libs.concurrency.rand import Rand
from libs.model.cluster import Topic
from libs.model.errors import KafscaleError, NotFound, Reason, Unavailable
from libs.model.ids import TopicId, TopicName
from services.operator.kinds import Key
from services.operator.render.common import METADATA, RPC_PORT
from services.operator.topics import TopicsApi

_SNAPSHOT_SECONDS_MAX = 5.0

OpenTopics = Callable[[Key, Callable[[], None]], AbstractAsyncContextManager[TopicsApi]]
"""A cluster's topics for as long as the block; the callback hears that some changed."""


class MetadataTopics:
    """TopicsApi of one cluster."""

    def __init__(self, client: MetadataClient, watcher: ClusterWatcher) -> None:
        self._client = client
        self._watcher = watcher

    async def describe(self, name: TopicName) -> Topic | None:
        with trio.move_on_after(_SNAPSHOT_SECONDS_MAX):
            await self._watcher.wait_ready()
        if not self._watcher.connected:
            # What was last heard may be old, and a topic that is not in it may exist.
            raise Unavailable(
                "the cluster's metadata service can't be reached", reason=Reason.METADATA_UNAVAILABLE
            )
        return self._watcher.view.topics_by_name.get(name)

    async def create(self, name: TopicName, *, partitions: int, configs: Mapping[str, str]) -> Topic:
        wanted = TopicToCreate(name=name, partitions=partitions, configs=configs)
        # Its owners may take their time: that it exists is enough.
        (answer,) = await self._client.create_topics([wanted], validate_only=False, timeout_seconds=0)
        if isinstance(answer, KafscaleError):
            raise answer
        return answer

    async def update(
        self, name: TopicName, *, topic_id: TopicId, partitions: int | None, configs: Mapping[str, str] | None
    ) -> Topic:
        update = TopicUpdate(name=name, topic_id=topic_id, partitions=partitions or 0, configs=configs)
        updated = await self._client.update_topic(update)
        with trio.move_on_after(_SNAPSHOT_SECONDS_MAX):
            # Else the next look would see the topic as it was.
            await self._watcher.wait_until(lambda view: view.revision >= updated.revision)
        return updated.topic

    async def delete(self, topic_id: TopicId) -> None:
        (answer,) = await self._client.delete_topics([topic_id])
        if isinstance(answer, KafscaleError) and not isinstance(answer, NotFound):
            raise answer


def metadata_topics(connect: Connect, rand: Rand, *, name: str) -> OpenTopics:
    """Over the Service NAME-metadata."""

    @asynccontextmanager
    async def opening(cluster: Key, on_change: Callable[[], None]) -> AsyncIterator[TopicsApi]:
        addresses = [f"{cluster.name}-{METADATA}.{cluster.namespace}.svc:{RPC_PORT}"]
        async with (
            open_metadata_client(addresses, connect) as client,
            open_watcher(name=name, addresses=addresses, connect=connect, rand=rand) as watcher,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_tell, watcher, on_change)
            yield MetadataTopics(client, watcher)
            nursery.cancel_scope.cancel()

    return opening


async def _tell(watcher: ClusterWatcher, on_change: Callable[[], None]) -> None:
    topics: dict[TopicId, Topic] = {}
    version = 0
    while True:
        version = await watcher.wait_changed(version)
        if (now := dict(watcher.view.topics)) != topics:
            topics = now
            on_change()


@dataclass(frozen=True, slots=True)
class _Link:
    topics: TopicsApi
    scope: trio.CancelScope


class Links:
    """Made by `open_links`. `on_change` hears which cluster's topics changed."""

    def __init__(self, opening: OpenTopics, nursery: trio.Nursery, on_change: Callable[[Key], None]) -> None:
        self._opening = opening
        self._nursery = nursery
        self._on_change = on_change
        self._links: dict[Key, _Link] = {}
        self._lock = trio.Lock()

    async def topics(self, cluster: Key) -> TopicsApi:
        async with self._lock:
            if cluster not in self._links:
                self._links[cluster] = await self._nursery.start(self._hold, cluster)
            return self._links[cluster].topics

    def forget(self, cluster: Key) -> None:
        link = self._links.pop(cluster, None)
        if link is not None:
            link.scope.cancel()

    async def _hold(
        self, cluster: Key, *, task_status: trio.TaskStatus[_Link] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.CancelScope() as scope:
            async with self._opening(cluster, lambda: self._on_change(cluster)) as topics:
                task_status.started(_Link(topics, scope))
                await trio.sleep_forever()


@asynccontextmanager
async def open_links(opening: OpenTopics, on_change: Callable[[Key], None]) -> AsyncIterator[Links]:
    async with trio.open_nursery() as nursery:
        yield Links(opening, nursery, on_change)
        nursery.cancel_scope.cancel()
