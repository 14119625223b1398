"""OffsetCommit."""

from typing import Any

import pytest
from kio.schema.errors import ErrorCode

from libs.model.errors import Fenced, Invalid, Moved, NotFound, Reason, Unavailable
from libs.model.ids import Partition, TopicPartition
from tests.unit.services.gateway.client import connected
from tests.unit.services.gateway.cluster import Served
from tests.unit.services.gateway.fake_groups import FakeGroups


def values(served: Served, *, name: str = "orders", group: str = "g", **more: Any) -> dict[str, Any]:
    partition = {"committed_offset": 5, "committed_leader_epoch": 2, "committed_metadata": "m"}
    topic = served.cluster.metadata.topics["orders"]  # type: ignore[index]
    return {
        "group_id": group,
        "generation_id_or_member_epoch": 3,
        "member_id": "member-1",
        "group_instance_id": "static",
        "topics": [
            {
                "name": name,
                "topic_id": topic.topic_id,
                "partitions": [{"partition_index": index, **partition} for index in (0, 1, 9)],
            }
        ],
        **more,
    }


@pytest.mark.parametrize("version", [2, 9, 10])
async def test_offsets_reach_the_coordinator(served: Served, groups: FakeGroups, version: int) -> None:
    topic_id = served.cluster.metadata.topics["orders"].topic_id  # type: ignore[index]
    groups.partition_errors[TopicPartition(topic_id, Partition(1))] = Invalid(
        "", reason=Reason.OFFSET_METADATA_TOO_LARGE
    )
    async with connected(served.port) as client:
        answer = await client.ask(8, version, values(served))
    assert [each.error_code for each in answer.topics[0].partitions] == [
        ErrorCode.none,
        ErrorCode.offset_metadata_too_large,
        ErrorCode.unknown_topic_or_partition,
    ]
    (asked,) = groups.asked
    assert (asked.group, asked.member_id, asked.generation) == ("g", "member-1", 3)
    assert asked.group_instance_id == ("static" if version >= 7 else None)
    first = asked.offsets[0]
    assert (first.at.partition, first.offset, first.metadata) == (0, 5, "m")
    assert first.leader_epoch == (2 if version >= 6 else -1)


@pytest.mark.parametrize(
    ("version", "code"), [(9, ErrorCode.unknown_topic_or_partition), (10, ErrorCode.unknown_topic_id)]
)
async def test_a_topic_that_was_deleted_a_moment_ago(
    served: Served, groups: FakeGroups, version: int, code: ErrorCode
) -> None:
    """The gateway has not heard of it, the coordinator has."""
    topic_id = served.cluster.metadata.topics["orders"].topic_id  # type: ignore[index]
    gone = NotFound("", reason=Reason.UNKNOWN_TOPIC_ID)
    groups.partition_errors[TopicPartition(topic_id, Partition(0))] = gone
    async with connected(served.port) as client:
        answer = await client.ask(8, version, values(served))
    assert [each.error_code for each in answer.topics[0].partitions][:2] == [code, ErrorCode.none]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Fenced("", reason=Reason.ILLEGAL_GENERATION), ErrorCode.illegal_generation),
        (Moved("", reason=Reason.NOT_COORDINATOR), ErrorCode.not_coordinator),
        (Unavailable("", outcome_unknown=True), ErrorCode.coordinator_load_in_progress),
    ],
)
async def test_an_error_of_the_whole_is_said_of_each(
    served: Served, groups: FakeGroups, error: Any, code: ErrorCode
) -> None:
    groups.error = error
    async with connected(served.port) as client:
        answer = await client.ask(8, 8, values(served))
    assert [each.error_code for each in answer.topics[0].partitions] == [code] * 3


async def test_unknown_topics_and_no_group(served: Served) -> None:
    async with connected(served.port) as client:
        unknown = await client.ask(8, 8, values(served, name="nowhere"))
        nobody = await client.ask(8, 8, values(served, group=""))
    unknown_codes = {each.error_code for each in unknown.topics[0].partitions}
    assert unknown_codes == {ErrorCode.unknown_topic_or_partition}
    assert {each.error_code for each in nobody.topics[0].partitions} == {ErrorCode.invalid_group_id}
