"""Fetch: batches out, as they are stored.

Fetch sessions (KIP-227) end here: every answer has session id 0, which tells the client that there is none,
and it goes on with full requests. See docs/adr for why.
"""

from collections.abc import Iterable
from typing import Any

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.owner import FetchedPartition, FetchPartition
from libs.model.errors import KafscaleError
from services.gateway.codec import NO_THROTTLE, Schema, milliseconds_of
from services.gateway.context import Gateway
from services.gateway.errors import partition_code_of
from services.gateway.fetch import fetch_limits, fetch_within
from services.gateway.handler import Handler, Request, Versions
from services.gateway.routing.fetches import failed_partition

_NO_SESSION = 0


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    if getattr(body, "session_id", _NO_SESSION) != _NO_SESSION:
        # A session that another broker gave; the client starts over without one.
        return schema.response(
            throttle_time=NO_THROTTLE,
            error_code=ErrorCode.fetch_session_id_not_found,
            session_id=_NO_SESSION,
            responses=(),
        )
    wanted = [_find(gateway, topic, part) for topic in body.topics for part in topic.partitions]
    known = [each for each in wanted if isinstance(each, FetchPartition)]
    limits = fetch_limits(
        min_bytes=body.min_bytes,
        max_bytes=body.max_bytes,
        # What is wrong already is answered at once, with what there is.
        max_wait_ms=milliseconds_of(body.max_wait) if len(known) == len(wanted) else 0,
        bytes_max=gateway.options.fetch_bytes_max,
    )
    answers, lease = await fetch_within(gateway.fetches, gateway.fetched, known, limits)
    request.holds(lease)
    found = iter(answers)
    merged = [next(found) if isinstance(each, FetchPartition) else failed_partition(each) for each in wanted]
    for each in merged:
        if each.error is not None:
            gateway.recorder.error_answered("fetch", partition_code_of(each.error).name)
    return _response(schema, body.topics, merged)


def _find(gateway: Gateway, topic: Any, partition: Any) -> FetchPartition | KafscaleError:
    try:
        found = gateway.topics.find(getattr(topic, "topic", None), getattr(topic, "topic_id", None))
        at = gateway.topics.partition(found, partition.partition)
    except KafscaleError as error:
        return error
    return FetchPartition(
        at=at,
        current_leader_epoch=getattr(partition, "current_leader_epoch", -1),
        fetch_offset=partition.fetch_offset,
        max_bytes=max(partition.partition_max_bytes, 0),
    )


def _response(schema: Schema, topics: Iterable[Any], answers: Iterable[FetchedPartition]) -> Entity:
    rest = iter(answers)
    return schema.response(
        throttle_time=NO_THROTTLE,
        error_code=ErrorCode.none,
        session_id=_NO_SESSION,
        responses=tuple(
            schema.part(
                "FetchableTopicResponse",
                topic=getattr(topic, "topic", None),
                topic_id=getattr(topic, "topic_id", None),
                partitions=tuple(_partition(schema, each.partition, next(rest)) for each in topic.partitions),
            )
            for topic in topics
        ),
    )


def _partition(schema: Schema, index: int, fetched: FetchedPartition) -> Any:
    failed = fetched.error is not None
    return schema.part(
        "PartitionData",
        partition_index=index,
        error_code=ErrorCode.none if fetched.error is None else partition_code_of(fetched.error),
        high_watermark=fetched.high_watermark,
        # No transactions yet: everything durable is stable.
        last_stable_offset=fetched.high_watermark,
        log_start_offset=-1 if failed else fetched.log_start_offset,
        aborted_transactions=None,
        records=fetched.records,
    )


HANDLER = Handler(api_key=1, name="fetch", versions=Versions(low=4, high=18), handle=handle)
