"""DeleteRecords: moves the log starts of partitions up, at whichever owners have them."""

from typing import Any

import trio
from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.owner import RecordDeletion
from libs.model.errors import KafscaleError, Moved, Overloaded, Reason, Unavailable
from libs.model.ids import Offset
from services.gateway.codec import NO_THROTTLE, Schema, milliseconds_of
from services.gateway.context import Gateway
from services.gateway.errors import partition_code_of
from services.gateway.groups import find_partition
from services.gateway.handler import Handler, Request, Versions
from services.gateway.routing.owners import OwnerLink

_AGAIN_SECONDS = 0.1
_SECONDS_MAX = 60.0
"""No request waits longer, whatever it asks for."""
_NO_OFFSET = -1

Answer = Offset | KafscaleError


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    wanted = [_deletion(gateway, topic, each) for topic in body.topics for each in topic.partitions]
    answers: list[Answer] = [
        each if isinstance(each, KafscaleError) else Moved("nobody was asked") for each in wanted
    ]
    seconds = min(max(0.0, milliseconds_of(body.timeout) / 1000), _SECONDS_MAX)
    with trio.move_on_after(seconds):
        await _delete(gateway, wanted, answers, trio.current_time() + seconds)
    rest = iter(answers)
    return schema.response(
        throttle_time=NO_THROTTLE,
        topics=tuple(
            schema.part(
                "DeleteRecordsTopicResult",
                name=topic.name,
                partitions=tuple(
                    _partition(gateway, schema, each.partition_index, next(rest)) for each in topic.partitions
                ),
            )
            for topic in body.topics
        ),
    )


def _deletion(gateway: Gateway, topic: Any, partition: Any) -> RecordDeletion | KafscaleError:
    try:
        at = find_partition(gateway, topic, partition.partition_index)
    except KafscaleError as error:
        return error
    return RecordDeletion(at=at, before_offset=partition.offset)


async def _delete(
    gateway: Gateway, wanted: list[RecordDeletion | KafscaleError], answers: list[Answer], deadline: float
) -> None:
    """Asks the owners until each partition has an answer that asking again would not change.

    While a partition moves nobody has it; that is over in a moment, and not the client's to know.
    """
    left = [place for place, each in enumerate(wanted) if isinstance(each, RecordDeletion)]
    while left:
        legs: dict[OwnerLink, list[int]] = {}
        for place in left:
            deletion = wanted[place]
            assert isinstance(deletion, RecordDeletion)
            link = gateway.owners.fetch_link(deletion.at)
            if link is not None:
                legs.setdefault(link, []).append(place)
        async with trio.open_nursery() as nursery:
            for link, places in legs.items():
                nursery.start_soon(_ask, link, wanted, places, answers, deadline)
        left = [place for place in left if isinstance(answers[place], Moved | Overloaded | Unavailable)]
        if left:
            await trio.sleep(_AGAIN_SECONDS)


async def _ask(
    link: OwnerLink,
    wanted: list[RecordDeletion | KafscaleError],
    places: list[int],
    answers: list[Answer],
    deadline: float,
) -> None:
    deletions = [each for each in (wanted[place] for place in places) if isinstance(each, RecordDeletion)]
    timeout_seconds = max(_AGAIN_SECONDS, deadline - trio.current_time())
    for place in places:
        answers[place] = Unavailable(
            "the records were not deleted in time", reason=Reason.TIMED_OUT, outcome_unknown=True
        )
    try:
        found = await link.delete_records(deletions, timeout_seconds=timeout_seconds)
    except KafscaleError as error:
        for place in places:
            answers[place] = error
        return
    for place, each in zip(places, found, strict=True):
        answers[place] = each


def _partition(gateway: Gateway, schema: Schema, index: int, answer: Answer) -> Any:
    if isinstance(answer, KafscaleError):
        late = isinstance(answer, Unavailable) and answer.reason is Reason.TIMED_OUT
        code = ErrorCode.request_timed_out if late else partition_code_of(answer)
        gateway.recorder.error_answered("delete_records", code.name)
        return schema.part(
            "DeleteRecordsPartitionResult", partition_index=index, error_code=code, low_watermark=_NO_OFFSET
        )
    return schema.part(
        "DeleteRecordsPartitionResult",
        partition_index=index,
        error_code=ErrorCode.none,
        low_watermark=answer,
    )


HANDLER = Handler(api_key=21, name="delete_records", versions=Versions(low=0, high=2), handle=handle)
