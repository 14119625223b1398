"""Partitions that move while clients produce: a pause for them, and order kept (rule 12)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import trio
from kio.schema.errors import ErrorCode

from libs.model.ids import Partition, TopicPartition
from libs.records import split_batches
from tests.unit.services.gateway.client import Client, batch, connected
from tests.unit.services.gateway.cluster import Served, open_served
from tests.unit.services.gateway.fake_owner import FakeOwner


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with open_served(owners=2) as running:
        running.cluster.metadata.create("orders", 1)
        await running.cluster.wait_seen()
        yield running


def at(served: Served) -> TopicPartition:
    return TopicPartition(served.cluster.metadata.topics["orders"].topic_id, Partition(0))  # type: ignore[index]


def owners(served: Served) -> tuple[FakeOwner, FakeOwner]:
    first = served.cluster.owner_of(at(served))
    (second,) = (owner for owner in served.cluster.owners if owner is not first)
    return first, second


def move(served: Served, to: FakeOwner) -> None:
    metadata = served.cluster.metadata
    metadata.assign(at(served), metadata.owners[to.owner_id])


async def send(client: Client, sequence: int, *, seconds: float = 10, producer_id: int = 7) -> None:
    part = {"index": 0, "records": batch(b"%d" % sequence, producer_id=producer_id, sequence=sequence)}
    await client.send(
        0,
        9,
        {
            "acks": -1,
            "timeout": timedelta(seconds=seconds),
            "topic_data": [{"name": "orders", "partition_data": [part]}],
        },
    )


async def code(client: Client) -> ErrorCode:
    with trio.fail_after(10):
        answer: Any = await client.receive()
    found = answer.responses[0].partition_responses[0].error_code
    assert isinstance(found, ErrorCode)
    return found


def sequences(owner: FakeOwner, where: TopicPartition) -> list[int]:
    return [split_batches(each)[0].base_sequence for each in owner.logs[where]]


async def test_a_hand_over_is_a_pause_for_clients(served: Served) -> None:
    first, second = owners(served)
    async with connected(served.port) as client:
        await send(client, 0)
        assert await code(client) is ErrorCode.none
        first.refusing.add(at(served))
        for sequence in range(1, 5):
            await send(client, sequence)
        await first.wait(lambda: first.received >= 3)
        move(served, second)
        assert [await code(client) for _ in range(4)] == [ErrorCode.none] * 4
    assert sequences(first, at(served)) == [0]
    assert sequences(second, at(served)) == [1, 2, 3, 4]


async def test_there_and_back_again(served: Served) -> None:
    first, second = owners(served)
    async with connected(served.port) as client:
        for turn in range(6):
            await send(client, turn)
            assert await code(client) is ErrorCode.none
            move(served, second if turn % 2 == 0 else first)
    assert sequences(first, at(served)) == [0, 2, 4]
    assert sequences(second, at(served)) == [1, 3, 5]


async def test_while_the_view_says_releasing_appends_wait(served: Served) -> None:
    first, second = owners(served)
    metadata = served.cluster.metadata
    metadata.release(at(served))
    await served.cluster.wait_seen()
    async with connected(served.port) as client:
        await send(client, 0)
        with trio.move_on_after(0.1):
            await first.wait(lambda: first.received > 0)
        assert served.gateway.statistics().appends_waiting == 1
        move(served, second)
        assert await code(client) is ErrorCode.none
    assert first.received == 0


async def test_nothing_is_sent_to_the_new_owner_while_an_outcome_is_open_at_the_old(served: Served) -> None:
    first, second = owners(served)
    first.hold = trio.Event()
    async with connected(served.port) as client:
        await send(client, 0)
        await first.wait(lambda: first.received == 1)
        move(served, second)
        await served.cluster.wait_seen()
        await send(client, 1)
        with trio.move_on_after(0.1):
            await second.wait(lambda: second.received > 0)
        assert second.received == 0
        first.hold.set()
        assert [await code(client) for _ in range(2)] == [ErrorCode.none] * 2
    assert sequences(second, at(served)) == [1]


async def test_an_old_owner_that_never_answers_is_given_up(served: Served) -> None:
    first, second = owners(served)
    first.hold = trio.Event()
    async with connected(served.port) as client:
        await send(client, 0)
        await first.wait(lambda: first.received == 1)
        move(served, second)
        await served.cluster.wait_seen()
        await send(client, 1)
        # Both reach the client: 0 because nobody knows, 1 because it must not overtake it.
        assert [await code(client) for _ in range(2)] == [ErrorCode.not_leader_or_follower] * 2
        await send(client, 0)
        assert await code(client) is ErrorCode.none
    assert sequences(second, at(served)) == [0]


async def test_a_batch_still_on_its_way_does_not_overtake_one_that_was_given_up(served: Served) -> None:
    """The new owner knows nothing of the producer, and would take the later batch for its first."""
    first, second = owners(served)
    first.hold = trio.Event()
    async with connected(served.port) as client:
        await send(client, 0)
        await first.wait(lambda: first.received == 1)
        move(served, second)
        await served.cluster.wait_seen()
        assert await code(client) is ErrorCode.not_leader_or_follower
        # Sent before the client heard of it, as far as the gateway can tell.
        await send(client, 1)
        await send(client, 5, producer_id=8)
        assert await code(client) is ErrorCode.not_leader_or_follower
        assert await code(client) is ErrorCode.none
        await send(client, 0)
        await send(client, 1)
        assert [await code(client) for _ in range(2)] == [ErrorCode.none] * 2
    assert sequences(second, at(served)) == [5, 0, 1]
    assert served.gateway.statistics().in_flight_bytes == 0


async def test_a_lost_stream_is_an_unknown_outcome(served: Served) -> None:
    first, _ = owners(served)
    first.hold = trio.Event()
    async with connected(served.port) as client:
        await send(client, 0)
        await first.wait(lambda: first.received == 1)
        first.break_streams()
        assert await code(client) is ErrorCode.not_leader_or_follower
        first.hold.set()
        await send(client, 0)
        await send(client, 1)
        assert [await code(client) for _ in range(2)] == [ErrorCode.none] * 2
    # It had landed. A real owner knows the second 0 by its sequence.
    assert sequences(first, at(served)) == [0, 0, 1]


async def test_an_owner_out_of_reach_holds_appends_until_another_has_the_partition(served: Served) -> None:
    first, second = owners(served)
    served.cluster.down.add(f"{first.owner_id}:9094")
    async with connected(served.port) as client:
        await send(client, 0)
        await send(client, 1)
        with trio.move_on_after(0.1):
            await second.wait(lambda: second.received > 0)
        move(served, second)
        assert [await code(client) for _ in range(2)] == [ErrorCode.none] * 2
    assert sequences(second, at(served)) == [0, 1]


async def test_what_is_held_too_long_is_given_back_to_the_client(served: Served) -> None:
    first, _ = owners(served)
    first.refusing.add(at(served))
    async with connected(served.port) as client:
        await send(client, 0, seconds=0.2)
        await send(client, 1, seconds=30)
        assert await code(client) is ErrorCode.request_timed_out
        assert await code(client) is ErrorCode.not_leader_or_follower
    assert served.gateway.statistics().in_flight_bytes == 0


async def test_a_deleted_topic_ends_the_wait(served: Served) -> None:
    first, _ = owners(served)
    first.refusing.add(at(served))
    async with connected(served.port) as client:
        await send(client, 0)
        await first.wait(lambda: first.received >= 1)
        served.cluster.metadata.delete("orders")
        assert await code(client) is ErrorCode.unknown_topic_or_partition


async def test_links_that_lead_nowhere_end(served: Served) -> None:
    first, second = owners(served)
    async with connected(served.port) as client:
        await send(client, 0)
        assert await code(client) is ErrorCode.none
        assert served.gateway.statistics().owner_links == 1
        move(served, second)
        await send(client, 1)
        assert await code(client) is ErrorCode.none
        with trio.fail_after(5):
            await first.wait_streams_gone()
        assert served.gateway.statistics().owner_links == 1


async def test_many_producers_through_many_moves_keep_their_order(served: Served) -> None:
    first, second = owners(served)
    count = 40

    async def produce(producer_id: int) -> None:
        async with connected(served.port) as client:
            for sequence in range(count):
                await send(client, sequence, producer_id=producer_id)
            for _ in range(count):
                assert await code(client) is ErrorCode.none

    async with trio.open_nursery() as nursery:
        for producer_id in range(4):
            nursery.start_soon(produce, producer_id)
        for turn in range(6):
            there, to = (first, second) if turn % 2 == 0 else (second, first)
            await there.wait(lambda there=there: there.end(at(served)) > 0)  # type: ignore[misc]
            there.refusing.add(at(served))
            await trio.lowlevel.checkpoint()
            to.refusing.discard(at(served))
            move(served, to)
            await served.cluster.wait_seen()
    for owner in (first, second):
        for producer_id in range(4):
            found = [
                split_batches(each)[0].base_sequence
                for each in owner.logs[at(served)]
                if split_batches(each)[0].producer_id == producer_id
            ]
            assert found == sorted(found)
    landed = sum(len(owner.logs[at(served)]) for owner in (first, second))
    assert landed == 4 * count
