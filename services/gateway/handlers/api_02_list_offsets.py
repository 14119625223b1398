"""ListOffsets: offsets by timestamp, and the ends of the log."""

from typing import Any

import trio
from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.owner import ListedOffset, OffsetQuery
from libs.model.errors import KafscaleError, Moved
from services.gateway.codec import NO_THROTTLE, Schema
from services.gateway.context import Gateway
from services.gateway.errors import partition_code_of
from services.gateway.groups import find_partition
from services.gateway.handler import Handler, Request, Versions
from services.gateway.routing.owners import OwnerLink

_LEAST_KNOWN = -4
"""-5 and -6 (KIP-1005, KIP-1023) are about copies in tiered storage, of which there are none."""

Answer = ListedOffset | KafscaleError


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    wanted = [_query(gateway, topic, each) for topic in body.topics for each in topic.partitions]
    answers: list[Answer] = [
        each if isinstance(each, KafscaleError) else Moved("nobody was asked") for each in wanted
    ]
    legs: dict[OwnerLink, list[int]] = {}
    for place, query in enumerate(wanted):
        if isinstance(query, KafscaleError):
            continue
        if query.timestamp < _LEAST_KNOWN:
            answers[place] = ListedOffset(error=None, offset=-1, timestamp_ms=-1, leader_epoch=-1)
            continue
        link = gateway.owners.fetch_link(query.at)
        if link is not None:
            legs.setdefault(link, []).append(place)
    async with trio.open_nursery() as nursery:
        for link, places in legs.items():
            nursery.start_soon(_ask, link, wanted, places, answers)
    rest = iter(answers)
    return schema.response(
        throttle_time=NO_THROTTLE,
        topics=tuple(
            schema.part(
                "ListOffsetsTopicResponse",
                name=topic.name,
                partitions=tuple(
                    _partition(gateway, schema, each.partition_index, next(rest)) for each in topic.partitions
                ),
            )
            for topic in body.topics
        ),
    )


def _query(gateway: Gateway, topic: Any, partition: Any) -> OffsetQuery | KafscaleError:
    try:
        at = find_partition(gateway, topic, partition.partition_index)
    except KafscaleError as error:
        return error
    return OffsetQuery(
        at=at,
        current_leader_epoch=getattr(partition, "current_leader_epoch", -1),
        timestamp=partition.timestamp,
    )


async def _ask(
    link: OwnerLink, wanted: list[OffsetQuery | KafscaleError], places: list[int], answers: list[Answer]
) -> None:
    queries = [each for each in (wanted[place] for place in places) if isinstance(each, OffsetQuery)]
    try:
        found = await link.list_offsets(queries)
    except KafscaleError as error:
        for place in places:
            answers[place] = error
        return
    for place, each in zip(places, found, strict=True):
        answers[place] = each.error or each


def _partition(gateway: Gateway, schema: Schema, index: int, answer: Answer) -> Any:
    if isinstance(answer, KafscaleError):
        code = partition_code_of(answer)
        gateway.recorder.error_answered("list_offsets", code.name)
        return schema.part(
            "ListOffsetsPartitionResponse",
            partition_index=index,
            error_code=code,
            timestamp=-1,
            offset=-1,
            leader_epoch=-1,
        )
    return schema.part(
        "ListOffsetsPartitionResponse",
        partition_index=index,
        error_code=ErrorCode.none,
        timestamp=answer.timestamp_ms,
        offset=answer.offset,
        leader_epoch=answer.leader_epoch,
    )


HANDLER = Handler(api_key=2, name="list_offsets", versions=Versions(low=1, high=11), handle=handle)
