"""Produce: batches in, offsets out once they are durable.

Version 0 is advertised because librdkafka compresses only then (KAFKA-18659; Kafka 4 does the same); 3 is the
lowest served, and the lowest that any client of today uses.
"""

from collections.abc import Sequence
from typing import Any

import trio
from kio.schema.errors import ErrorCode
from kio.serial.readers import tz_aware_from_i64
from kio.static.primitive import i64
from kio.static.protocol import Entity

from libs.clients.owner import Appended
from libs.model.errors import Invalid, KafscaleError, Moved
from libs.telemetry.spans import span
from services.gateway.codec import NO_THROTTLE, Schema, milliseconds_of
from services.gateway.context import Gateway
from services.gateway.errors import append_code_of
from services.gateway.handler import Handler, Request, Versions
from services.gateway.produce import (
    ACKS_ALL,
    ACKS_LEADER,
    ACKS_NONE,
    Appending,
    Batch,
    Outcome,
    check_records,
    failed_batch,
    produce_seconds,
    start_appending,
)
from services.gateway.recorder import Recorder


def start(gateway: Gateway, request: Request) -> "StartedProduce":
    """Checks the batches and sends them on at once, whatever earlier requests wait for."""
    body = request.body
    if body.acks not in (ACKS_NONE, ACKS_LEADER, ACKS_ALL):
        refusal = ErrorCode.invalid_required_acks
    elif body.transactional_id is not None:
        refusal = ErrorCode.transactional_id_authorization_failed
    else:
        refusal = None
    if refusal is not None:
        return StartedProduce(gateway.recorder, request, None, refusal)
    with span("gateway.validate"):
        batches = [
            _check(gateway, topic, partition)
            for topic in body.topic_data
            for partition in topic.partition_data
        ]
    request.lease.hold()
    appending = start_appending(
        gateway.appends,
        batches,
        connection=("connection", request.connection),
        seconds=produce_seconds(
            body.acks, milliseconds_of(body.timeout), gateway.options.produce_seconds_max
        ),
        on_closed=request.lease.release,
    )
    return StartedProduce(gateway.recorder, request, appending, None)


class StartedProduce:
    """A produce request whose batches are on their way, or that was refused as a whole."""

    def __init__(
        self, recorder: Recorder, request: Request, appending: Appending | None, refusal: ErrorCode | None
    ) -> None:
        self._recorder = recorder
        self._request = request
        self._appending = appending
        self._refusal = refusal

    async def wait(self) -> Entity | None:
        """Raises Invalid where no answer is wanted but the client has to hear that something is wrong."""
        body, schema = self._request.body, self._request.schema
        if body.acks == ACKS_NONE:
            self._raise_if_refused()
            return None
        outcomes: Sequence[Outcome | None] = ()
        if self._appending is not None:
            await self._appending.wait()
            outcomes = self._appending.outcomes
        place = 0
        topics = []
        for topic in body.topic_data:
            parts = []
            for partition in topic.partition_data:
                parts.append(self._partition(schema, partition.index, outcomes[place] if outcomes else None))
                place += 1
            topics.append(
                schema.part(
                    "TopicProduceResponse",
                    name=getattr(topic, "name", None),
                    topic_id=getattr(topic, "topic_id", None),
                    partition_responses=tuple(parts),
                )
            )
        return schema.response(responses=tuple(topics), throttle_time=NO_THROTTLE)

    def _raise_if_refused(self) -> None:
        """As in Kafka, only the end of the connection makes such a client look for its topics again."""
        if self._refusal is not None:
            raise Invalid(f"a produce request that wants no answer was refused: {self._refusal.name}")
        for outcome in self._appending.outcomes if self._appending is not None else ():
            if isinstance(outcome, KafscaleError):
                raise Invalid(f"a produce request that wants no answer failed: {outcome.message}")

    def _partition(self, schema: Schema, index: int, outcome: Outcome | None) -> Any:
        if isinstance(outcome, Appended):
            stamped = outcome.log_append_time_ms
            return schema.part(
                "PartitionProduceResponse",
                index=index,
                error_code=ErrorCode.none,
                base_offset=outcome.base_offset,
                log_append_time=None if stamped < 0 else tz_aware_from_i64(i64(stamped)),
                log_start_offset=outcome.log_start_offset,
                record_errors=(),
            )
        code = self._refusal or ErrorCode.unknown_server_error
        message = None
        if isinstance(outcome, KafscaleError):
            code = append_code_of(outcome)
            message = outcome.message if isinstance(outcome, Invalid) else None
        self._recorder.error_answered("produce", code.name)
        return schema.part(
            "PartitionProduceResponse",
            index=index,
            error_code=code,
            base_offset=-1,
            log_append_time=None,
            log_start_offset=-1,
            record_errors=(),
            error_message=message,
        )


def _check(gateway: Gateway, topic: Any, partition: Any) -> Batch:
    name, topic_id = getattr(topic, "name", None), getattr(topic, "topic_id", None)
    place = (name or topic_id, partition.index)
    try:
        found = gateway.topics.find(name, topic_id)
        at = gateway.topics.partition(found, partition.index)
    except KafscaleError as error:
        gateway.unknown_topics.refuse(place, partition.records, trio.current_time())
        return failed_batch(error)
    batch = check_records(at, found, partition.records)
    if batch.error is None and gateway.unknown_topics.holds_back(place, batch, trio.current_time()):
        return failed_batch(Moved("an earlier batch of this producer was refused, send both again"))
    return batch


HANDLER = Handler(api_key=0, name="produce", versions=Versions(low=3, high=13, advertised_low=0), start=start)
