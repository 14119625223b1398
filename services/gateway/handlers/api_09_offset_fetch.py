"""OffsetFetch: committed offsets of groups; -1 where there is none.

Version 8 and up ask for several groups at once (KIP-709); 10 names topics by id.
"There is none" makes a consumer begin anew, at an end of the log. It is said only after metadata itself was
asked which topic has the name by now: this gateway's view may be behind.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.group_types import OffsetCommit
from libs.model.errors import KafscaleError
from libs.model.ids import GroupId, Partition, TopicId, TopicName, TopicPartition
from libs.model.limits import PARTITIONS_PER_TOPIC_MAX
from services.gateway.codec import NO_THROTTLE, Schema
from services.gateway.context import Gateway
from services.gateway.errors import code_of, offset_code_of
from services.gateway.groups import check_group_id
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
    try:
        group = check_group_id(group_id)
        if topics is None:
            asked = await _all(gateway, group)
        else:
            asked = await _these(gateway, group, topics)
    except KafscaleError as error:
        code = offset_code_of(error)
        if schema.version >= 2 or topics is None:
            return code, ()
        # Version 1 has no place for an error of the whole.
        asked = _Asked(topics, [error] * len(topics), {})
    name = (
        "OffsetFetchResponseTopic" if schema.version < _SEVERAL_GROUPS_FROM else "OffsetFetchResponseTopics"
    )
    answers = tuple(
        schema.part(
            name,
            name=getattr(topic, "name", None),
            topic_id=getattr(topic, "topic_id", None),
            partitions=tuple(
                _partition(schema, index, topic_id, asked.offsets) for index in topic.partition_indexes
            ),
        )
        for topic, topic_id in zip(asked.topics, asked.ids, strict=True)
    )
    return ErrorCode.none, answers


@dataclass(frozen=True, slots=True)
class _Asked:
    topics: Sequence[Any]
    """With `partition_indexes`, and `name` or `topic_id`."""
    ids: list[TopicId | KafscaleError]
    """Of each of `topics`."""
    offsets: dict[TopicPartition, OffsetCommit]


async def _these(gateway: Gateway, group: GroupId, topics: Sequence[Any]) -> _Asked:
    ids = [_find(gateway, topic) for topic in topics]
    offsets = await gateway.groups.fetch_offsets(group, _partitions(topics, ids, range(len(topics))))
    doubtful = {
        place: TopicName(topic.name)
        for place, topic in enumerate(topics)
        if getattr(topic, "name", None)
        and any(_at(ids[place], index) not in offsets for index in topic.partition_indexes)
    }
    if doubtful:
        found = await gateway.metadata.get_topics(set(doubtful.values()))
        by_name = {topic.name: topic.topic_id for topic in found}
        others = [place for place, name in doubtful.items() if by_name.get(name, ids[place]) != ids[place]]
        for place in others:
            ids[place] = by_name[doubtful[place]]
        if others:
            offsets |= await gateway.groups.fetch_offsets(group, _partitions(topics, ids, others))
    return _Asked(topics, ids, offsets)


async def _all(gateway: Gateway, group: GroupId) -> _Asked:
    """As if every partition with an offset had been asked for; those of deleted topics are left out."""
    offsets = await gateway.groups.fetch_offsets(group, None)
    indexes: dict[TopicId, list[int]] = {}
    for at in sorted(offsets):
        indexes.setdefault(at.topic_id, []).append(at.partition)
    known = {
        topic_id: gateway.view.topics[topic_id] for topic_id in indexes if topic_id in gateway.view.topics
    }
    if len(known) < len(indexes):
        found = await gateway.metadata.get_topics(indexes.keys() - known.keys())
        known |= {topic.topic_id: topic for topic in found}
    topics = [
        SimpleNamespace(name=known[each].name, topic_id=each, partition_indexes=tuple(indexes[each]))
        for each in indexes
        if each in known
    ]
    return _Asked(topics, [topic.topic_id for topic in topics], offsets)


def _find(gateway: Gateway, topic: Any) -> TopicId | KafscaleError:
    try:
        return gateway.topics.find(getattr(topic, "name", None), getattr(topic, "topic_id", None)).topic_id
    except KafscaleError as error:
        return error


def _at(topic_id: TopicId | KafscaleError, index: int) -> TopicPartition | None:
    """None for what can't have an offset. It may be beyond the partitions in the view: topics grow."""
    if isinstance(topic_id, KafscaleError) or not 0 <= index < PARTITIONS_PER_TOPIC_MAX:
        return None
    return TopicPartition(topic_id, Partition(index))


def _partitions(
    topics: Sequence[Any], ids: Sequence[TopicId | KafscaleError], places: Iterable[int]
) -> list[TopicPartition]:
    found = [_at(ids[place], index) for place in places for index in topics[place].partition_indexes]
    return [each for each in found if each is not None]


def _partition(
    schema: Schema,
    index: int,
    topic_id: TopicId | KafscaleError,
    offsets: Mapping[TopicPartition, OffsetCommit],
) -> Any:
    name = (
        "OffsetFetchResponsePartition"
        if schema.version < _SEVERAL_GROUPS_FROM
        else "OffsetFetchResponsePartitions"
    )
    at = _at(topic_id, index)
    commit = None if at is None else offsets.get(at)
    return schema.part(
        name,
        partition_index=index,
        committed_offset=_NO_OFFSET if commit is None else commit.offset,
        committed_leader_epoch=-1 if commit is None else commit.leader_epoch,
        metadata="" if commit is None else commit.metadata,
        error_code=_unknown_code(topic_id) if isinstance(topic_id, KafscaleError) else ErrorCode.none,
    )


def _unknown_code(error: KafscaleError) -> ErrorCode:
    """A topic that is not there has no committed offset, which is no error; an unknown id is (KIP-848)."""
    code = offset_code_of(error)
    if code is ErrorCode.unknown_topic_or_partition or code is ErrorCode.invalid_topic_exception:
        return ErrorCode.none
    return code if code is not ErrorCode.none else code_of(error)


HANDLER = Handler(api_key=9, name="offset_fetch", versions=Versions(low=1, high=10), handle=handle)
