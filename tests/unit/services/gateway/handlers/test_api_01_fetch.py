"""Fetch: batches as they are stored, waits over several owners, bounds."""

from datetime import timedelta
from typing import Any

import trio
from kio.schema.errors import ErrorCode

from libs.model.ids import Partition, TopicPartition
from tests.unit.services.gateway.client import batch, connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_owner import FakeOwner


def values(*partitions: tuple[int, int], wait_ms: int = 0, min_bytes: int = 1, **more: Any) -> dict[str, Any]:
    part_bytes = more.pop("part_bytes", 1 << 20)
    return {
        "max_wait": timedelta(milliseconds=wait_ms),
        "min_bytes": min_bytes,
        "max_bytes": 1 << 20,
        "topics": [
            {
                "topic": more.pop("topic", "orders"),
                "topic_id": more.pop("topic_id", None),
                "partitions": [
                    {"partition": index, "fetch_offset": offset, "partition_max_bytes": part_bytes}
                    for index, offset in partitions
                ],
            }
        ],
        **more,
    }


def stored(served: Served, partition: int, *batches: bytes) -> tuple[TopicPartition, FakeOwner]:
    at = TopicPartition(
        served.cluster.metadata.topics["orders"].topic_id,  # type: ignore[index]
        Partition(partition),
    )
    owner = served.cluster.owner_of(at)
    for each in batches:
        patched = owner.end(at).to_bytes(8, "big") + each[8:]
        owner.logs[at].append(patched)
    owner.appended.set()
    owner.appended = trio.Event()
    return at, owner


def records(answer: Any) -> list[bytes]:
    return [bytes(each.records or b"") for topic in answer.responses for each in topic.partitions]


async def test_what_is_stored_comes_out(served: Served) -> None:
    at, owner = stored(served, 0, batch(b"a", b"b"), batch(b"c"))
    async with connected(served.port) as client:
        answer = await client.ask(1, 12, values((0, 0), (1, 0)))
        inside = await client.ask(1, 12, values((0, 1)))
        end = await client.ask(1, 12, values((0, 3)))
        oldest = await client.ask(1, 4, values((0, 0)))
        newest = await client.ask(1, 18, values((0, 0), topic_id=at.topic_id))
    everything = b"".join(owner.logs[at])
    assert records(answer) == [everything, b""]
    assert answer.session_id == 0
    first = answer.responses[0].partitions[0]
    assert (first.error_code, first.high_watermark, first.last_stable_offset) == (ErrorCode.none, 3, 3)
    assert records(inside) == [everything]
    assert records(end) == [b""]
    assert records(oldest) == records(newest) == [everything]


async def test_errors_are_per_partition_and_do_not_wait(served: Served) -> None:
    with trio.fail_after(5):
        async with connected(served.port) as client:
            answer = await client.ask(1, 12, values((0, 99), (1, 0), (5, 0), wait_ms=60_000))
            by_id = await client.ask(
                1, 13, values((0, 0), wait_ms=60_000, topic_id=served.cluster.metadata.rand.uuid())
            )
    codes = [each.error_code for each in answer.responses[0].partitions]
    assert codes == [ErrorCode.offset_out_of_range, ErrorCode.none, ErrorCode.unknown_topic_or_partition]
    assert by_id.responses[0].partitions[0].error_code is ErrorCode.unknown_topic_id


async def test_a_session_of_another_broker_is_not_found(served: Served) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(1, 12, values((0, 0), session_id=5, session_epoch=1))
    assert (answer.error_code, answer.responses) == (ErrorCode.fetch_session_id_not_found, ())


async def test_data_at_one_owner_ends_the_wait_at_the_other(served: Served) -> None:
    with trio.fail_after(5):
        async with connected(served.port) as client:
            await client.send(1, 12, values((0, 0), (1, 0), wait_ms=60_000))
            for owner in served.cluster.owners:
                await owner.wait(lambda owner=owner: owner.fetches == 1)  # type: ignore[misc]
            stored(served, 1, batch(b"x"))
            answer = await client.receive()
    assert [bool(each) for each in records(answer)] == [False, True]
    assert sum(owner.cancelled_fetches for owner in served.cluster.owners) == 1


async def test_owners_add_up_towards_min_bytes(served: Served) -> None:
    one = batch(bytes(100))
    with trio.fail_after(5):
        async with connected(served.port) as client:
            await client.send(1, 12, values((0, 0), (1, 0), wait_ms=60_000, min_bytes=2 * len(one)))
            stored(served, 0, one)
            stored(served, 1, one)
            answer = await client.receive()
    assert [len(each) for each in records(answer)] == [len(one), len(one)]


async def test_the_wait_is_over_in_time(served: Served) -> None:
    async with connected(served.port) as client:
        began = trio.current_time()
        answer = await client.ask(1, 12, values((0, 0), wait_ms=200))
        assert 0.15 < trio.current_time() - began < 3
    assert records(answer) == [b""]


async def test_max_bytes_over_owners_but_one_whole_batch_at_least(served: Served) -> None:
    large = batch(bytes(5000))
    stored(served, 0, large, large)
    stored(served, 1, large, large)
    async with connected(served.port) as client:
        answer = await client.ask(1, 12, values((0, 0), (1, 0), max_bytes=100))
        more = await client.ask(1, 12, values((0, 0), (1, 0), max_bytes=4 * len(large)))
    assert [len(each) for each in records(answer)] == [len(large), 0]
    assert [len(each) for each in records(more)] == [2 * len(large), 2 * len(large)]


async def test_a_client_that_leaves_ends_its_wait_at_the_owner(served: Served) -> None:
    owner = served.cluster.owners[0]
    with trio.fail_after(10):
        async with connected(served.port) as client:
            await client.send(1, 12, values((0, 0), wait_ms=60_000))
            await owner.wait(lambda: owner.fetches == 1)
        await owner.wait(lambda: owner.cancelled_fetches == 1)


async def test_an_owner_out_of_reach_is_a_pause_and_not_a_spin(served: Served) -> None:
    served.cluster.down.update({"owner-0:9094", "owner-1:9094"})
    async with connected(served.port) as client:
        began = trio.current_time()
        answer = await client.ask(1, 12, values((0, 0), wait_ms=500))
        assert trio.current_time() - began > 0.05
    assert answer.responses[0].partitions[0].error_code is ErrorCode.not_leader_or_follower


async def test_room_for_answers_is_given_back(served: Served) -> None:
    stored(served, 0, batch(bytes(1000)))
    async with connected(served.port) as client:
        await client.ask(1, 12, values((0, 0)))
        await client.ask(18, 0)
    assert served.gateway.statistics().fetched_bytes == 0
