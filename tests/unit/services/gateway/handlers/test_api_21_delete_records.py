"""DeleteRecords over several owners, while partitions move, and within the client's time."""

from datetime import timedelta
from typing import Any

import trio
from kio.schema.errors import ErrorCode

from libs.model.errors import Invalid, Reason, Unavailable
from libs.model.ids import Partition, TopicPartition
from tests.unit.services.gateway.client import batch, connected
from tests.unit.services.gateway.cluster import Served


def values(*wanted: tuple[int, int], name: str = "orders", timeout_ms: int = 5000) -> dict[str, Any]:
    partitions = [{"partition_index": index, "offset": offset} for index, offset in wanted]
    return {
        "topics": [{"name": name, "partitions": partitions}],
        "timeout": timedelta(milliseconds=timeout_ms),
    }


def at(served: Served, index: int) -> TopicPartition:
    topic = served.cluster.metadata.topics["orders"]  # type: ignore[index]
    return TopicPartition(topic.topic_id, Partition(index))


async def test_each_partition_is_answered_by_its_owner(served: Served) -> None:
    for index in (0, 1):
        served.cluster.owner_of(at(served, index)).logs[at(served, index)].append(batch(b"a", b"b", b"c"))
    async with connected(served.port) as client:
        answer = await client.ask(21, 2, values((0, 2), (1, -1), (1, 4), (9, 0)))
        (unknown,) = (await client.ask(21, 1, values((0, 1), name="nowhere"))).topics
    found = [
        (each.partition_index, each.error_code, each.low_watermark) for each in answer.topics[0].partitions
    ]
    assert found == [
        (0, ErrorCode.none, 2),
        (1, ErrorCode.none, 3),
        (1, ErrorCode.offset_out_of_range, -1),
        (9, ErrorCode.unknown_topic_or_partition, -1),
    ]
    assert unknown.partitions[0].error_code is ErrorCode.unknown_topic_or_partition


async def test_a_topic_that_keeps_its_records_says_so(served: Served) -> None:
    owner = served.cluster.owner_of(at(served, 0))
    owner.errors[at(served, 0)] = Invalid("compacted only", reason=Reason.POLICY_VIOLATION)
    async with connected(served.port) as client:
        answer = await client.ask(21, 2, values((0, 0)))
    assert answer.topics[0].partitions[0].error_code is ErrorCode.policy_violation


async def test_a_partition_that_moves_meanwhile_is_asked_again(served: Served) -> None:
    owner = served.cluster.owner_of(at(served, 0))
    owner.refusing.add(at(served, 0))
    async with connected(served.port) as client:
        await client.send(21, 2, values((0, 0)))
        with trio.fail_after(5):
            await owner.wait(lambda: owner.deletions > 1)
        owner.refusing.clear()
        answer = await client.receive()
    assert answer.topics[0].partitions[0].error_code is ErrorCode.none


async def test_an_answer_comes_in_time_whatever_happens(served: Served) -> None:
    served.cluster.owner_of(at(served, 0)).hold = trio.Event()
    served.cluster.owner_of(at(served, 1)).errors[at(served, 1)] = Unavailable("away")
    async with connected(served.port) as client:
        with trio.fail_after(3):
            answer = await client.ask(21, 2, values((0, 0), (1, 0), timeout_ms=300))
            nothing = await client.ask(21, 2, values((0, 0), timeout_ms=0))
    codes = [each.error_code for each in answer.topics[0].partitions]
    assert codes == [ErrorCode.request_timed_out, ErrorCode.not_leader_or_follower]
    assert nothing.topics[0].partitions[0].error_code is not ErrorCode.none
