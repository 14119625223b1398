"""Metadata: brokers, leaders, creation on first use."""

import trio
from kio.schema.errors import ErrorCode

from libs.model.cluster import Gateway
from libs.model.ids import BrokerId, GatewayId
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served, open_served


def named(*names: str, allow: bool = True) -> dict[str, object]:
    return {"topics": [{"name": name} for name in names], "allow_auto_topic_creation": allow}


async def test_all_topics_and_none(served: Served) -> None:
    async with connected(served.port) as client:
        everything = await client.ask(3, 12, {"topics": None})
        oldest = await client.ask(3, 0, {"topics": ()})
        nothing = await client.ask(3, 12, {"topics": ()})
    assert [topic.name for topic in everything.topics] == ["orders"]
    assert [topic.name for topic in oldest.topics] == ["orders"]
    assert nothing.topics == ()
    assert everything.cluster_id == "test-cluster"
    (broker,) = everything.brokers
    assert (broker.host, broker.port) == ("127.0.0.1", served.port)
    assert everything.controller_id == broker.node_id
    topic = everything.topics[0]
    assert topic.topic_id == served.cluster.metadata.topics["orders"].topic_id  # type: ignore[index]
    assert [each.partition_index for each in topic.partitions] == [0, 1]
    for each in topic.partitions:
        assert each.leader_id == broker.node_id
        assert each.replica_nodes == each.isr_nodes == (broker.node_id,)
        assert each.leader_epoch == 0


async def test_by_id(served: Served) -> None:
    topic_id = served.cluster.metadata.topics["orders"].topic_id  # type: ignore[index]
    other = served.cluster.metadata.rand.uuid()
    async with connected(served.port) as client:
        answer = await client.ask(3, 12, {"topics": [{"topic_id": topic_id}, {"topic_id": other}]})
    known, unknown = answer.topics
    assert (known.name, known.error_code) == ("orders", ErrorCode.none)
    assert (unknown.name, unknown.error_code) == (None, ErrorCode.unknown_topic_id)
    assert unknown.topic_id == other


async def test_a_topic_is_created_on_first_use_and_shown_at_once(served: Served) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(3, 9, named("fresh", "orders"))
    assert [(topic.name, topic.error_code) for topic in answer.topics] == [
        ("fresh", ErrorCode.none),
        ("orders", ErrorCode.none),
    ]
    assert len(answer.topics[0].partitions) == 1
    assert served.cluster.metadata.created == [["fresh"]]


async def test_many_clients_create_a_topic_once(served: Served) -> None:
    answers = []

    async def ask() -> None:
        async with connected(served.port) as client:
            answers.append(await client.ask(3, 9, named("fresh")))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert [answer.topics[0].error_code for answer in answers] == [ErrorCode.none] * 5
    assert served.cluster.metadata.created == [["fresh"]]


async def test_not_created_where_the_client_or_the_platform_says_no(served: Served) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(3, 9, named("fresh", allow=False))
    assert answer.topics[0].error_code is ErrorCode.unknown_topic_or_partition
    async with open_served(auto_create_topics=False) as other, connected(other.port) as client:
        answer = await client.ask(3, 9, named("fresh"))
        assert answer.topics[0].error_code is ErrorCode.unknown_topic_or_partition
        assert other.cluster.metadata.created == []


async def test_a_name_that_is_none(served: Served) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(3, 9, named("a/b", "", "..", "x" * 250, "x" * 249))
    codes = [topic.error_code for topic in answer.topics]
    assert codes == [ErrorCode.invalid_topic_exception] * 4 + [ErrorCode.none]


async def test_metadata_away_is_said_in_the_answer(served: Served) -> None:
    served.cluster.metadata.unavailable = True
    async with connected(served.port) as client:
        answer = await client.ask(3, 9, named("fresh", "orders"))
    assert answer.topics[0].error_code.retriable
    assert answer.topics[1].error_code is ErrorCode.none


async def test_other_gateways_are_brokers_too(served: Served) -> None:
    served.cluster.metadata.add_gateway(
        Gateway(gateway_id=GatewayId("g2"), broker_id=BrokerId(7), host="far", port=1, zone="b")
    )
    await served.cluster.wait_seen()
    async with connected(served.port) as client:
        answer = await client.ask(3, 9, {"topics": None})
    assert [(each.node_id, each.rack) for each in answer.brokers] == [(1, None), (7, "b")]


async def test_service_mode_names_one_broker_for_all() -> None:
    async with open_served(
        advertised_mode="service", advertised_host="kafka.example", advertised_port=9092
    ) as served:
        served.cluster.metadata.add_gateway(
            Gateway(gateway_id=GatewayId("g2"), broker_id=BrokerId(7), host="kafka.example", port=9092)
        )
        await served.cluster.wait_seen()
        async with connected(served.port) as client:
            answer = await client.ask(3, 9, {"topics": None})
    assert [(each.node_id, each.host, each.port) for each in answer.brokers] == [(0, "kafka.example", 9092)]
    assert answer.controller_id == 0
