"""What a replica knows of topics, and when it says that there is none."""

from uuid import UUID

import trio
import trio.testing

from libs.concurrency.rand import SeededRand
from libs.model.cluster import Topic
from libs.model.ids import TopicId, TopicName
from services.metadata import keys, stored
from services.metadata.cache import Cache
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Delete, Put

FIRST, SECOND = TopicId(UUID(int=1)), TopicId(UUID(int=2))


def put_of(topic_id: TopicId) -> Put:
    topic = Topic(name=TopicName("orders"), topic_id=topic_id, partitions=1, configs={})
    return Put(key=keys.topic(topic.name), value=stored.topic_bytes(topic))


async def test_no_topic_is_called_missing_before_the_state_has_caught_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kv = MemoryKV()
    cache = Cache(kv, rand=SeededRand("cache"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.run)
        await cache.wait_loaded()
        for topic_id, other in ((FIRST, SECOND), (SECOND, FIRST)):
            await kv.txn([], [put_of(topic_id)])
            assert topic_id not in cache.state.topics_by_id, "it has heard of it already: this shows nothing"
            assert await cache.missing_topics([topic_id, other]) == {other}
        await kv.txn([], [Delete(key=keys.topic(TopicName("orders")))])
        await trio.testing.wait_all_tasks_blocked()
        assert await cache.missing_topics([SECOND]) == {SECOND}
        assert not await cache.missing_topics([])
        nursery.cancel_scope.cancel()
