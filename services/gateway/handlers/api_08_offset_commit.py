"""OffsetCommit: offsets of a consumer group, stored when the answer says so."""

from typing import Any

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.group_types import CommitOffsets, OffsetCommit
from libs.model.errors import KafscaleError
from libs.model.ids import LeaderEpoch, MemberId, Offset
from services.gateway.codec import NO_THROTTLE
from services.gateway.context import Gateway
from services.gateway.errors import code_of, offset_code_of
from services.gateway.groups import check_group_id, find_partition
from services.gateway.handler import Handler, Request, Versions

_TOPIC_IDS_FROM = 10
"""KIP-848."""


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    wanted = [_commit(gateway, topic, each) for topic in body.topics for each in topic.partitions]
    good = tuple(each for each in wanted if isinstance(each, OffsetCommit))
    whole: ErrorCode | None = None
    found: list[ErrorCode] = []
    try:
        group = check_group_id(body.group_id)
        errors = await gateway.groups.commit(
            CommitOffsets(
                group=group,
                member_id=MemberId(body.member_id),
                group_instance_id=getattr(body, "group_instance_id", None),
                generation=body.generation_id_or_member_epoch,
                offsets=good,
            )
        )
        found = [ErrorCode.none if each is None else _code(each, schema.version) for each in errors]
        gateway.lag.committed(
            group, (each for each, error in zip(good, errors, strict=True) if error is None)
        )
    except KafscaleError as error:
        whole = offset_code_of(error)
    rest = iter(found)
    codes = iter(
        whole or (next(rest) if isinstance(each, OffsetCommit) else code_of(each)) for each in wanted
    )
    return schema.response(
        throttle_time=NO_THROTTLE,
        topics=tuple(
            schema.part(
                "OffsetCommitResponseTopic",
                name=getattr(topic, "name", None),
                topic_id=getattr(topic, "topic_id", None),
                partitions=tuple(
                    schema.part(
                        "OffsetCommitResponsePartition",
                        partition_index=each.partition_index,
                        error_code=next(codes),
                    )
                    for each in topic.partitions
                ),
            )
            for topic in body.topics
        ),
    )


def _commit(gateway: Gateway, topic: Any, partition: Any) -> OffsetCommit | KafscaleError:
    try:
        at = find_partition(gateway, topic, partition.partition_index)
    except KafscaleError as error:
        return error
    return OffsetCommit(
        at=at,
        offset=Offset(partition.committed_offset),
        leader_epoch=LeaderEpoch(getattr(partition, "committed_leader_epoch", -1)),
        metadata=partition.committed_metadata or "",
    )


def _code(error: KafscaleError, version: int) -> ErrorCode:
    """Who named a topic by its name is told of the name: metadata knows ids only."""
    code = offset_code_of(error)
    by_name = version < _TOPIC_IDS_FROM and code is ErrorCode.unknown_topic_id
    return ErrorCode.unknown_topic_or_partition if by_name else code


HANDLER = Handler(api_key=8, name="offset_commit", versions=Versions(low=2, high=10), handle=handle)
