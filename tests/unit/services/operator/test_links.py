"""Topics through the metadata service as it is, on the memory store; a link for each cluster."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpclib.client
import pytest
import trio

from libs.concurrency.rand import SeededRand
from libs.model.errors import Invalid, Reason, Unavailable
from libs.model.ids import TopicName
from services.metadata.kv.memory import MemoryKV
from services.operator.kinds import CLUSTERS, Key
from services.operator.links import Links, metadata_topics, open_links
from tests.support.metadata import MetadataCluster, open_metadata_cluster

KAFKA = Key(CLUSTERS.kind, "default", "kafka")
SERVICE = "kafka-metadata.default.svc:9094"
NAME = TopicName("orders")


class Reached:
    """The Service NAME-metadata in front of a replica; `away` refuses."""

    def __init__(self, cluster: MetadataCluster) -> None:
        self.away = False
        self._cluster = cluster

    def __call__(self, address: str) -> AbstractAsyncContextManager[grpclib.client.Channel]:
        assert address == SERVICE
        return self._cluster.connect("nobody" if self.away else "m0")


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Links, Reached, list[Key]]]:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        await cluster.owner(client, "owner-0", 0)
        reached, changed = Reached(cluster), list[Key]()
        opening = metadata_topics(reached, SeededRand(1), name="operator")
        async with open_links(opening, changed.append) as links:
            yield links, reached, changed


async def test_a_topic_from_its_creation_to_its_end(autojump_clock: object) -> None:
    async with linked() as (links, _reached, changed):
        topics = await links.topics(KAFKA)
        assert await topics.describe(NAME) is None
        made = await topics.create(NAME, partitions=2, configs={"retention.ms": "5"})
        await trio.sleep(5)
        found = await topics.describe(NAME)
        assert found is not None
        assert (found.topic_id, found.live) == (made.topic_id, True)
        assert changed, "who made it is told of it"
        with pytest.raises(Invalid) as caught:
            await topics.create(NAME, partitions=2, configs={})
        assert caught.value.reason is Reason.TOPIC_ALREADY_EXISTS
        await topics.update(NAME, topic_id=made.topic_id, partitions=4, configs=None)
        found = await topics.describe(NAME)
        assert found is not None
        assert (found.partitions, found.configs) == (4, {"retention.ms": "5"})
        await topics.update(NAME, topic_id=made.topic_id, partitions=None, configs={})
        found = await topics.describe(NAME)
        assert found is not None
        assert found.configs == {}
        await topics.delete(made.topic_id)
        await topics.delete(made.topic_id)
        await trio.sleep(5)
        assert await topics.describe(NAME) is None


async def test_what_can_not_be_reached_is_not_said_to_be_missing(autojump_clock: object) -> None:
    async with linked() as (links, reached, _changed):
        reached.away = True
        topics = await links.topics(KAFKA)
        with pytest.raises(Unavailable, match="can't be reached"):
            await topics.describe(NAME)
        links.forget(KAFKA)
        reached.away = False
        again = await links.topics(KAFKA)
        assert again is not topics
        assert await again.describe(NAME) is None
