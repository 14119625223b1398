"""Topics over RPC: checks, races, waiting for owners, deleting and creating again."""

from uuid import UUID

import pytest
import trio
import trio.testing

from libs.clients.metadata import MetadataClient, TopicToCreate
from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Topic
from libs.model.errors import Invalid, KafscaleError, NotFound, Reason, Unavailable
from libs.model.ids import Partition, TopicId, TopicName, TopicPartition
from services.metadata import keys, stored
from services.metadata.cache import Cache
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Delete, Put
from services.metadata.topics import Topics
from tests.support.metadata import open_metadata_cluster, wait_view


def new(name: str, partitions: int = 1, **configs: str) -> TopicToCreate:
    named = {key.replace("_", "."): value for key, value in configs.items()}
    return TopicToCreate(name=TopicName(name), partitions=partitions, configs=named)


async def create(
    client: MetadataClient, topic: TopicToCreate, *, wait_seconds: float = 10.0
) -> Topic | KafscaleError:
    (answer,) = await client.create_topics([topic], validate_only=False, timeout_seconds=wait_seconds)
    return answer


async def created(client: MetadataClient, topic: TopicToCreate) -> Topic:
    answer = await create(client, topic)
    assert isinstance(answer, Topic), answer
    return answer


async def test_a_topic_is_live_once_every_partition_has_an_owner(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        for number in range(3):
            await cluster.owner(client, f"owner-{number}", number)
        topic = await created(client, new("orders", 8))
        assert topic.live
        view = await wait_view(watcher, lambda view: len(view.topics) == 1)
        assert len(view.assignments) == 8
        held = [assignment.owner_id for assignment in view.assignments.values()]
        assert sorted(held.count(owner) for owner in set(held)) == [2, 3, 3]
        assert {each.leader_epoch for each in view.assignments.values()} == {0}


async def test_a_large_topic_is_created_in_several_transactions(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        await cluster.owner(client, "owner-1", 1)
        assert (await created(client, new("large", 1024))).live
        view = await wait_view(watcher, lambda view: any(t.live for t in view.topics.values()))
        assert len(view.assignments) == 1024


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        (new(""), Reason.INVALID_TOPIC_NAME),
        (new(".."), Reason.INVALID_TOPIC_NAME),
        (new("a/b"), Reason.INVALID_TOPIC_NAME),
        (new("é"), Reason.INVALID_TOPIC_NAME),
        (new("x" * 250), Reason.INVALID_TOPIC_NAME),
        (new("x", 0), Reason.INVALID_PARTITIONS),
        (new("x", -2), Reason.INVALID_PARTITIONS),
        (new("x", 1025), Reason.INVALID_PARTITIONS),
        (new("x", 1, retention_ms="soon"), Reason.INVALID_CONFIG),
        (new("x", 1, no_such="1"), Reason.INVALID_CONFIG),
    ],
)
async def test_what_is_wrong_is_refused(topic: TopicToCreate, reason: Reason, autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        answer = await create(client, topic)
        assert isinstance(answer, Invalid)
        assert answer.reason is reason


async def test_validating_creates_nothing_and_finds_what_exists(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with open_metadata_cluster(kv, "m0") as cluster, cluster.client() as client:
        (answer,) = await client.create_topics([new("t", -1)], validate_only=True, timeout_seconds=1)
        assert isinstance(answer, Topic)
        assert answer.partitions == 1
        assert await kv.get("topics/t") is None
        await create(client, new("t"), wait_seconds=0)
        (answer,) = await client.create_topics([new("t")], validate_only=True, timeout_seconds=1)
        assert isinstance(answer, Invalid)
        assert answer.reason is Reason.TOPIC_ALREADY_EXISTS


async def test_without_owners_creating_times_out_and_goes_on_when_one_comes(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        answer = await create(client, new("orders", 2), wait_seconds=3)
        assert isinstance(answer, Unavailable)
        assert answer.reason is Reason.TIMED_OUT
        await cluster.owner(client, "owner-0", 0)
        await wait_view(watcher, lambda view: any(topic.live for topic in view.topics.values()))


async def test_of_two_creators_one_wins(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0", "m1") as cluster,
        cluster.client("m0") as one,
        cluster.client("m1") as two,
    ):
        await cluster.owner(one, "owner-0", 0)
        answers: list[Topic | KafscaleError] = []

        async def race(client: MetadataClient) -> None:
            answers.append(await create(client, new("orders")))

        async with trio.open_nursery() as racers:
            racers.start_soon(race, one)
            racers.start_soon(race, two)
        won = [answer for answer in answers if isinstance(answer, Topic)]
        (lost,) = [answer for answer in answers if isinstance(answer, KafscaleError)]
        assert len(won) == 1
        assert lost.reason is Reason.TOPIC_ALREADY_EXISTS


async def test_names_twice_in_one_request_are_refused(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        answers = await client.create_topics(
            [new("a"), new("a"), new("b")], validate_only=True, timeout_seconds=0
        )
        assert [type(answer) for answer in answers] == [Invalid, Invalid, Topic]


async def test_a_topic_created_again_is_a_new_topic(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        first = await created(client, new("orders", 130))
        assert await client.delete_topics([first.name]) == [(first.name, first.topic_id)]
        second = await created(client, new("orders", 2))
        assert second.topic_id != first.topic_id
        view = await wait_view(
            watcher, lambda view: {at.topic_id for at in view.assignments} == {second.topic_id}
        )
        assert list(view.topics) == [second.topic_id]
        with pytest.raises(NotFound):
            await client.get_partition(TopicPartition(first.topic_id, Partition(0)))


async def test_topics_are_as_the_store_has_them_and_not_as_the_replica_last_heard(
    autojump_clock: object,
) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        first = await create(client, new("first"), wait_seconds=0)
        second = await create(client, new("second"), wait_seconds=0)
        assert isinstance(first, Topic)
        assert isinstance(second, Topic)
        await wait_view(watcher, lambda view: len(view.topics) == 2)
        await client.delete_topics([first.name])
        third = await create(client, new("first", 2), wait_seconds=0)
        assert isinstance(third, Topic)
        asked: list[TopicName | TopicId] = [
            first.name,
            first.topic_id,
            second.topic_id,
            second.name,
            TopicName("none"),
        ]
        found = {topic.topic_id: topic.partitions for topic in await client.get_topics(asked)}
        assert found == {third.topic_id: 2, second.topic_id: 1}
        names = [first.name, TopicName("none"), TopicName("no/name")]
        assert [topic.topic_id for topic in await client.get_topics(names)] == [third.topic_id]
        assert await client.get_topics([]) == []


async def test_no_topic_is_called_missing_before_the_store_was_asked(autojump_clock: object) -> None:
    kv = MemoryKV()
    cache = Cache(kv, rand=SeededRand("cache"))
    topics = Topics(kv=kv, cache=cache, clock=ManualClock(), rand=SeededRand("topics"), partitions_default=1)
    first, second = TopicId(UUID(int=1)), TopicId(UUID(int=2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.run)
        await cache.wait_loaded()
        for topic_id, other in ((first, second), (second, first)):
            topic = Topic(name=TopicName("orders"), topic_id=topic_id, partitions=1, configs={})
            await kv.txn([], [Put(key=keys.topic(topic.name), value=stored.topic_bytes(topic))])
            assert topic_id not in cache.state.topics_by_id, "it has heard of it already: this shows nothing"
            assert await topics.missing([topic_id, other]) == {other}
        await kv.txn([], [Delete(key=keys.topic(TopicName("orders")))])
        await trio.testing.wait_all_tasks_blocked()
        assert await topics.missing([second]) == {second}
        assert not await topics.missing([])
        nursery.cancel_scope.cancel()


async def test_topics_are_deleted_by_id_and_unknown_ones_are_said_so(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        await cluster.owner(client, "owner-0", 0)
        topic = await created(client, new("orders"))
        unknown = TopicId(UUID(int=5))
        answers = await client.delete_topics([topic.topic_id, topic.topic_id, unknown, TopicName("no")])
        assert answers[0] == (topic.name, topic.topic_id)
        reasons = [answer.reason for answer in answers[1:] if isinstance(answer, NotFound)]
        assert reasons == [
            Reason.UNKNOWN_TOPIC_ID,
            Reason.UNKNOWN_TOPIC_ID,
            Reason.UNKNOWN_TOPIC_OR_PARTITION,
        ]
