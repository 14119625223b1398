"""OffsetFetch: committed offsets of groups; -1 where there is none.

Version 8 and up ask for several groups at once (KIP-709); 10 names topics by id.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.group_types import OffsetCommit
from libs.model.errors import KafscaleError
from libs.model.ids import TopicPartition
from services.gateway.codec import NO_THROTTLE, Schema
from services.gateway.context import Gateway
from services.gateway.errors import code_of, offset_code_of
from services.gateway.groups import check_group_id, find_partition
from services.gateway.handler import Handler, Request, Versions

_SEVERAL_GROUPS_FROM = 8
_NO_OFFSET = -1


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    if schema.version < _SEVERAL_GROUPS_FROM:
        code, topics = await _group(gateway, schema, body.group_id, body.topics)
        return schema.response(throttle_time=NO_THROTTLE, topics=topics, error_code=code)
    groups = []
    for each in body.groups:
        code, topics = await _group(gateway, schema, each.group_id, each.topics)
        groups.append(
            schema.part("OffsetFetchResponseGroup", group_id=each.group_id, topics=topics, error_code=code)
        )
    return schema.response(throttle_time=NO_THROTTLE, groups=tuple(groups))


async def _group(
    gateway: Gateway, schema: Schema, group_id: str, topics: Sequence[Any] | None
) -> tuple[ErrorCode, tuple[Any, ...]]:
    known: dict[tuple[int, int], TopicPartition | KafscaleError] = {}
    for place, topic in enumerate(topics or ()):
        for index in topic.partition_indexes:
            known[place, index] = _find(gateway, topic, index)
    wanted = [each for each in known.values() if isinstance(each, TopicPartition)]
    try:
        group = check_group_id(group_id)
        offsets = await gateway.groups.fetch_offsets(group, None if topics is None else wanted)
    except KafscaleError as error:
        code = offset_code_of(error)
        if schema.version >= 2:
            return code, ()
        # Version 1 has no place for an error of the whole.
        known = dict.fromkeys(known, error)
        offsets = {}
    if topics is None:
        topics = _all_topics(gateway, offsets)
        known = {
            (place, index): TopicPartition(topic.topic_id, index)
            for place, topic in enumerate(topics)
            for index in topic.partition_indexes
        }
    answers = tuple(
        schema.part(
            "OffsetFetchResponseTopic"
            if schema.version < _SEVERAL_GROUPS_FROM
            else "OffsetFetchResponseTopics",
            name=getattr(topic, "name", None),
            topic_id=getattr(topic, "topic_id", None),
            partitions=tuple(
                _partition(schema, index, known[place, index], offsets) for index in topic.partition_indexes
            ),
        )
        for place, topic in enumerate(topics)
    )
    return ErrorCode.none, answers


def _find(gateway: Gateway, topic: Any, index: int) -> TopicPartition | KafscaleError:
    try:
        return find_partition(gateway, topic, index)
    except KafscaleError as error:
        return error


def _all_topics(gateway: Gateway, offsets: Mapping[TopicPartition, OffsetCommit]) -> list[Any]:
    """As if every partition with an offset had been asked for; those of deleted topics are left out."""
    found: dict[Any, list[int]] = {}
    for at in sorted(offsets):
        topic = gateway.view.topics.get(at.topic_id)
        if topic is not None:
            found.setdefault(topic.topic_id, []).append(at.partition)
    return [
        SimpleNamespace(
            name=gateway.view.topics[topic_id].name, topic_id=topic_id, partition_indexes=tuple(indexes)
        )
        for topic_id, indexes in found.items()
    ]


def _partition(
    schema: Schema,
    index: int,
    at: TopicPartition | KafscaleError,
    offsets: Mapping[TopicPartition, OffsetCommit],
) -> Any:
    name = (
        "OffsetFetchResponsePartition"
        if schema.version < _SEVERAL_GROUPS_FROM
        else "OffsetFetchResponsePartitions"
    )
    commit = offsets.get(at) if isinstance(at, TopicPartition) else None
    code = ErrorCode.none
    if isinstance(at, KafscaleError):
        code = _unknown_code(at)
    return schema.part(
        name,
        partition_index=index,
        committed_offset=_NO_OFFSET if commit is None else commit.offset,
        committed_leader_epoch=-1 if commit is None else commit.leader_epoch,
        metadata="" if commit is None else commit.metadata,
        error_code=code,
    )


def _unknown_code(error: KafscaleError) -> ErrorCode:
    """A topic that is not there has no committed offset, which is no error; an unknown id is (KIP-848)."""
    code = offset_code_of(error)
    if code is ErrorCode.unknown_topic_or_partition or code is ErrorCode.invalid_topic_exception:
        return ErrorCode.none
    return code if code is not ErrorCode.none else code_of(error)


HANDLER = Handler(api_key=9, name="offset_fetch", versions=Versions(low=1, high=10), handle=handle)
