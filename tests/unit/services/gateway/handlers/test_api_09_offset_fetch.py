"""OffsetFetch, for one group and for several."""

import pytest
import trio
from kio.schema.errors import ErrorCode

from libs.clients.group_types import OffsetCommit
from libs.model.errors import Moved, Reason
from libs.model.ids import LeaderEpoch, Offset, Partition, TopicId, TopicName, TopicPartition
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_groups import FakeGroups


@pytest.fixture
def committed(served: Served, groups: FakeGroups) -> TopicPartition:
    at = TopicPartition(served.cluster.metadata.topics["orders"].topic_id, Partition(1))  # type: ignore[index]
    groups.offsets[at] = OffsetCommit(at=at, offset=Offset(42), leader_epoch=LeaderEpoch(3), metadata="here")
    gone = TopicPartition(served.cluster.metadata.rand.uuid(), Partition(0))  # type: ignore[arg-type]
    groups.offsets[gone] = OffsetCommit(at=gone, offset=Offset(1))
    return at


@pytest.mark.parametrize("version", [1, 2, 5, 7])
async def test_one_group(served: Served, committed: TopicPartition, version: int) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(
            9,
            version,
            {
                "group_id": "g",
                "topics": [
                    {"name": "orders", "partition_indexes": (0, 1)},
                    {"name": "nowhere", "partition_indexes": (0,)},
                ],
            },
        )
    orders, nowhere = answer.topics
    assert [(each.partition_index, each.committed_offset) for each in orders.partitions] == [(0, -1), (1, 42)]
    assert orders.partitions[1].metadata == "here"
    if version >= 5:
        assert [each.committed_leader_epoch for each in orders.partitions] == [-1, 3]
    assert (nowhere.partitions[0].committed_offset, nowhere.partitions[0].error_code) == (-1, ErrorCode.none)


@pytest.mark.parametrize("version", [2, 7])
async def test_all_partitions_of_topics_that_exist(
    served: Served, committed: TopicPartition, version: int
) -> None:
    async with connected(served.port) as client:
        answer = await client.ask(9, version, {"group_id": "g", "topics": None})
    (topic,) = answer.topics
    assert topic.name == "orders"
    assert [(each.partition_index, each.committed_offset) for each in topic.partitions] == [(1, 42)]


@pytest.mark.parametrize("version", [8, 9, 10])
async def test_several_groups(served: Served, committed: TopicPartition, version: int) -> None:
    topic = {"name": "orders", "topic_id": committed.topic_id, "partition_indexes": (1,)}
    async with connected(served.port) as client:
        answer = await client.ask(
            9,
            version,
            {
                "groups": [
                    {"group_id": "g", "topics": [topic]},
                    {"group_id": "h", "topics": None},
                    {"group_id": "", "topics": None},
                ]
            },
        )
    first, second, nobody = answer.groups
    for group in (first, second):
        (found,) = group.topics
        if version >= 10:
            assert found.topic_id == committed.topic_id
        else:
            assert found.name == "orders"
        assert found.partitions[0].committed_offset == 42
    assert nobody.error_code is ErrorCode.invalid_group_id


async def test_an_error_of_the_coordinator(
    served: Served, groups: FakeGroups, committed: TopicPartition
) -> None:
    groups.error = Moved("", reason=Reason.COORDINATOR_LOADING)
    values = {"group_id": "g", "topics": [{"name": "orders", "partition_indexes": (0,)}]}
    async with connected(served.port) as client:
        newer = await client.ask(9, 5, values)
        oldest = await client.ask(9, 1, values)
        unknown = await client.ask(
            9,
            10,
            {
                "groups": [
                    {
                        "group_id": "g",
                        "topics": [
                            {"topic_id": served.cluster.metadata.rand.uuid(), "partition_indexes": (0,)}
                        ],
                    }
                ]
            },
        )
    assert newer.error_code is ErrorCode.coordinator_load_in_progress
    assert oldest.topics[0].partitions[0].error_code is ErrorCode.coordinator_load_in_progress
    assert unknown.groups[0].error_code is ErrorCode.coordinator_load_in_progress


def _is_committed(groups: FakeGroups, topic_id: TopicId, partition: int, offset: int) -> None:
    at = TopicPartition(topic_id, Partition(partition))
    groups.offsets[at] = OffsetCommit(at=at, offset=Offset(offset))


async def _fetched(served: Served, name: str, *partitions: int) -> list[int]:
    values = {"group_id": "g", "topics": [{"name": name, "partition_indexes": partitions}]}
    async with connected(served.port) as client:
        answer = await client.ask(9, 7, values)
    assert answer.error_code is ErrorCode.none
    return [each.committed_offset for each in answer.topics[0].partitions]


async def test_a_view_that_is_behind_hides_no_offset(served: Served, groups: FakeGroups) -> None:
    """The gateway was cut off while a topic was made, another one made anew, and a third one grew."""
    metadata = served.cluster.metadata
    grown = metadata.topics[TopicName("orders")]
    metadata.create("recreated", 2)
    async with connected(served.port) as client:
        # Its view is its own: there is no event.
        while (await client.ask(3, 12, {"topics": [{"name": "recreated"}]})).topics[0].error_code:  # noqa: ASYNC110
            await trio.sleep(0.01)
    metadata.silent = True
    _is_committed(groups, grown.topic_id, grown.partitions, 7)
    _is_committed(groups, metadata.create("new", 1).topic_id, 0, 8)
    metadata.delete("recreated")
    _is_committed(groups, metadata.create("recreated", 2).topic_id, 1, 9)
    assert await _fetched(served, "orders", grown.partitions) == [7]
    assert await _fetched(served, "new", 0) == [8]
    assert await _fetched(served, "recreated", 0, 1) == [-1, 9]
    async with connected(served.port) as client:
        answer = await client.ask(9, 7, {"group_id": "g", "topics": None})
    assert {topic.name for topic in answer.topics} == {"orders", "new", "recreated"}


async def test_names_are_looked_up_only_where_nothing_is_committed(
    served: Served, groups: FakeGroups, committed: TopicPartition
) -> None:
    looked_up = served.cluster.metadata.looked_up
    assert await _fetched(served, "orders", 1) == [42]
    assert not looked_up
    assert await _fetched(served, "orders", 0, 1) == [-1, 42]
    assert looked_up == [["orders"]]


@pytest.mark.parametrize("trouble", ["unavailable", "outdated"])
async def test_nothing_is_said_while_metadata_can_not_tell(
    served: Served, groups: FakeGroups, trouble: str
) -> None:
    """-1 would make the consumer begin anew. Outdated: an upgrade is under way."""
    setattr(served.cluster.metadata, trouble, True)
    async with connected(served.port) as client:
        answer = await client.ask(
            9, 7, {"group_id": "g", "topics": [{"name": "orders", "partition_indexes": (0,)}]}
        )
    assert answer.error_code is ErrorCode.coordinator_load_in_progress


async def test_an_index_that_no_topic_can_have(served: Served, groups: FakeGroups) -> None:
    assert await _fetched(served, "orders", -1, 1024, 2**31 - 1) == [-1, -1, -1]
