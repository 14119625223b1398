"""ListOffsets over several owners."""

from typing import Any

from kio.schema.errors import ErrorCode

from libs.model.ids import Partition, TopicPartition
from tests.unit.services.gateway.client import batch, connected
from tests.unit.services.gateway.cluster import Served


def values(*wanted: tuple[int, int], name: str = "orders") -> dict[str, Any]:
    return {
        "topics": [
            {
                "name": name,
                "partitions": [{"partition_index": index, "timestamp": time} for index, time in wanted],
            }
        ]
    }


async def test_ends_of_logs_at_several_owners(served: Served) -> None:
    topic = served.cluster.metadata.topics["orders"]  # type: ignore[index]
    at = TopicPartition(topic.topic_id, Partition(1))
    served.cluster.owner_of(at).logs[at].append(batch(b"a", b"b"))
    async with connected(served.port) as client:
        answer = await client.ask(2, 7, values((0, -1), (1, -1), (1, -2), (9, -1), (1, -5)))
        (unknown,) = (await client.ask(2, 1, values((0, -1), name="nowhere"))).topics
    found = [(each.error_code, each.offset) for each in answer.topics[0].partitions]
    assert found == [
        (ErrorCode.none, 0),
        (ErrorCode.none, 2),
        (ErrorCode.none, 0),
        (ErrorCode.unknown_topic_or_partition, -1),
        (ErrorCode.none, -1),
    ]
    assert unknown.partitions[0].error_code is ErrorCode.unknown_topic_or_partition


async def test_an_owner_that_is_away_or_refuses(served: Served) -> None:
    served.cluster.down.add("owner-0:9094")
    topic = served.cluster.metadata.topics["orders"]  # type: ignore[index]
    served.cluster.owners[1].refusing.add(TopicPartition(topic.topic_id, Partition(1)))
    async with connected(served.port) as client:
        answer = await client.ask(2, 7, values((0, -1), (1, -1)))
    codes = [each.error_code for each in answer.topics[0].partitions]
    assert codes == [ErrorCode.not_leader_or_follower] * 2
