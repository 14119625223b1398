"""Produce: offsets back, errors per partition, order kept while later requests are on their way."""

from datetime import timedelta
from typing import Any

import pytest
import trio
import trio.testing
from kio.schema.errors import ErrorCode

from libs.model.errors import Invalid, Overloaded, Reason, Unavailable
from libs.model.ids import Partition, TopicName, TopicPartition
from tests.unit.services.gateway.client import Client, batch, connected
from tests.unit.services.gateway.cluster import Served


def at(served: Served, partition: int = 0, topic: str = "orders") -> TopicPartition:
    return TopicPartition(served.cluster.metadata.topics[topic].topic_id, Partition(partition))  # type: ignore[index]


def values(parts: dict[int, bytes | None], *, acks: int = -1, topic: str = "orders", **more: Any) -> Any:
    return {
        "acks": acks,
        "timeout": timedelta(seconds=10),
        "topic_data": [
            {
                "name": topic,
                "partition_data": [{"index": index, "records": each} for index, each in parts.items()],
            }
        ],
        **more,
    }


async def produce(client: Client, parts: dict[int, bytes | None], version: int = 9, **more: Any) -> list[Any]:
    answer = await client.ask(0, version, values(parts, **more))
    return list(answer.responses[0].partition_responses)


async def test_offsets_come_back(served: Served) -> None:
    async with connected(served.port) as client:
        first = await produce(client, {0: batch(b"a", b"b"), 1: batch(b"c")})
        second = await produce(client, {0: batch(b"d")}, acks=1)
    assert [(each.index, each.error_code, each.base_offset) for each in first + second] == [
        (0, ErrorCode.none, 0),
        (1, ErrorCode.none, 0),
        (0, ErrorCode.none, 2),
    ]


async def test_by_topic_id(served: Served) -> None:
    request = values({0: batch(b"a")})
    request["topic_data"][0]["topic_id"] = at(served).topic_id
    unknown = values({0: batch(b"a")})
    unknown["topic_data"][0]["topic_id"] = served.cluster.metadata.rand.uuid()
    async with connected(served.port) as client:
        answer = await client.ask(0, 13, request)
        other = await client.ask(0, 13, unknown)
    assert answer.responses[0].topic_id == at(served).topic_id
    assert answer.responses[0].partition_responses[0].error_code is ErrorCode.none
    assert other.responses[0].partition_responses[0].error_code is ErrorCode.unknown_topic_id


async def test_acks_0_answers_nothing(served: Served) -> None:
    async with connected(served.port) as client:
        client.expect_nothing(await client.send(0, 9, values({0: batch(b"quiet")}, acks=0)))
        assert await produce(client, {0: batch(b"loud")})
        assert served.cluster.owner_of(at(served)).end(at(served)) == 2


async def test_acks_0_that_fails_ends_the_connection(served: Served) -> None:
    async with connected(served.port) as client:
        await client.send(0, 9, values({0: batch(b"lost")}, acks=0, topic="nowhere"))
        with trio.fail_after(5):
            assert await client.receive_frame() is None


async def test_one_bad_batch_stops_nobody_else(served: Served) -> None:
    two = batch(b"a") + batch(b"b")
    async with connected(served.port) as client:
        found = await produce(client, {0: batch(b"good"), 1: batch(b"bad", crc=5), 7: batch(b"lost")})
        more = [await produce(client, {0: each}) for each in (None, b"", b"short", two)]
    assert [each.error_code for each in found] == [
        ErrorCode.none,
        ErrorCode.corrupt_message,
        ErrorCode.unknown_topic_or_partition,
    ]
    assert found[1].error_message is not None
    assert [each[0].error_code for each in more] == [
        ErrorCode.invalid_record,
        ErrorCode.invalid_record,
        ErrorCode.corrupt_message,
        ErrorCode.invalid_record,
    ]


async def test_what_is_refused_as_a_whole(served: Served) -> None:
    async with connected(served.port) as client:
        (acks,) = await produce(client, {0: batch(b"a")}, acks=2)
        (transactional,) = await produce(client, {0: batch(b"a")}, transactional_id="t")
        (nowhere,) = await produce(client, {0: batch(b"a")}, topic="nowhere")
        (no_name,) = await produce(client, {0: batch(b"a")}, topic="no/name")
        (marked,) = await produce(client, {0: batch(b"a", attributes=0x10, producer_id=1, sequence=0)})
    assert acks.error_code is ErrorCode.invalid_required_acks
    assert transactional.error_code is ErrorCode.transactional_id_authorization_failed
    assert nowhere.error_code is ErrorCode.unknown_topic_or_partition
    assert no_name.error_code is ErrorCode.invalid_topic_exception
    assert marked.error_code is ErrorCode.invalid_record


async def test_the_topics_own_limit(served: Served) -> None:
    served.cluster.metadata.create("small", 1, max_message_bytes="1000")
    await served.cluster.wait_seen()
    async with connected(served.port) as client:
        (fits,) = await produce(client, {0: batch(bytes(800))}, topic="small")
        (too_large,) = await produce(client, {0: batch(bytes(1000))}, topic="small")
    assert fits.error_code is ErrorCode.none
    assert too_large.error_code is ErrorCode.message_too_large


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid("", reason=Reason.OUT_OF_ORDER_SEQUENCE), ErrorCode.out_of_order_sequence_number),
        (Overloaded(""), ErrorCode.not_enough_replicas),
        (Unavailable("", outcome_unknown=True), ErrorCode.not_leader_or_follower),
        (Unavailable("", reason=Reason.TIMED_OUT, outcome_unknown=True), ErrorCode.request_timed_out),
    ],
)
async def test_what_owners_say(served: Served, error: Any, code: ErrorCode) -> None:
    served.cluster.owner_of(at(served)).errors[at(served)] = error
    async with connected(served.port) as client:
        (found,) = await produce(client, {0: batch(b"a")})
    assert (found.error_code, found.base_offset) == (code, -1)


async def test_a_timeout_is_answered_and_the_bytes_stay_counted(served: Served) -> None:
    owner = served.cluster.owner_of(at(served))
    owner.hold = trio.Event()
    async with connected(served.port) as client:
        (found,) = await produce(client, {0: batch(b"a")}, timeout=timedelta(milliseconds=50))
        assert found.error_code is ErrorCode.request_timed_out
        assert served.gateway.statistics().in_flight_bytes > 0
        assert served.gateway.statistics().appends_in_flight == 1
        owner.hold.set()
        await trio.testing.wait_all_tasks_blocked()
        assert served.gateway.statistics().in_flight_bytes == 0


async def test_pipelined_requests_are_sent_at_once_and_answered_in_order(served: Served) -> None:
    owner = served.cluster.owner_of(at(served))
    owner.hold = trio.Event()
    async with connected(served.port) as client:
        for number in range(5):
            await client.send(0, 9, values({0: batch(b"%d" % number)}))
        while owner.end(at(served)) < 5:
            await owner.appended.wait()
        owner.hold.set()
        offsets = [(await client.receive()).responses[0].partition_responses[0].base_offset for _ in range(5)]
    assert offsets == [0, 1, 2, 3, 4]


async def test_a_parked_fetch_holds_no_later_produce_up(served: Served) -> None:
    owner = served.cluster.owner_of(at(served))
    fetch = {
        "max_wait": timedelta(seconds=30),
        "min_bytes": 1,
        "max_bytes": 1000,
        "topics": [
            {
                "topic": "orders",
                "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}],
            }
        ],
    }
    with trio.fail_after(5):
        async with connected(served.port) as client:
            await client.send(1, 12, fetch)
            await client.send(0, 9, values({0: batch(b"wakes the fetch")}))
            fetched = await client.receive()
            produced = await client.receive()
    assert fetched.responses[0].partitions[0].records == owner.logs[at(served)][0]
    assert produced.responses[0].partition_responses[0].error_code is ErrorCode.none


@pytest.mark.parametrize("version", [9, 13])
async def test_a_batch_sent_behind_one_whose_topic_was_not_known_yet_waits_for_it(
    served: Served, version: int
) -> None:
    """The topic becomes known here between two requests that the client had sent one behind the other."""
    topic = served.cluster.metadata.topics[TopicName("orders")]
    served.cluster.metadata.delete("orders")
    await served.cluster.wait_seen()

    def sent(sequence: int) -> Any:
        request = values({0: batch(b"a", producer_id=7, sequence=sequence)})
        request["topic_data"][0]["topic_id"] = topic.topic_id
        return request

    async def ask(sequence: int) -> Any:
        answer = await client.ask(0, version, sent(sequence))
        return answer.responses[0].partition_responses[0]

    unknown = ErrorCode.unknown_topic_id if version == 13 else ErrorCode.unknown_topic_or_partition
    async with connected(served.port) as client:
        assert (await ask(0)).error_code is unknown
        topic = served.cluster.metadata.create("orders", 1, topic_id=topic.topic_id)
        await served.cluster.wait_seen()
        assert (await ask(1)).error_code is ErrorCode.not_leader_or_follower
        assert [(await ask(sequence)).base_offset for sequence in (0, 1)] == [0, 1]
