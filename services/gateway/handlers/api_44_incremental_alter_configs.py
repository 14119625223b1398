"""IncrementalAlterConfigs: configs of topics, set or put back to their defaults; nothing else has any."""

from collections import Counter
from enum import IntEnum
from typing import Any, Final

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.topic_updates import ConfigChanges, TopicUpdate, UpdatedTopic
from libs.model.errors import Invalid, KafscaleError, Reason
from services.gateway.codec import NO_THROTTLE, Schema
from services.gateway.context import Gateway
from services.gateway.errors import code_of
from services.gateway.handler import Handler, Request, Versions
from services.gateway.handlers.api_32_describe_configs import TOPIC
from services.gateway.topic_updates import update_topics
from services.gateway.topics import check_topic_name

_SECONDS_MAX: Final = 30.0
"""The request names no time; clients wait that long for an answer."""


class _Operation(IntEnum):
    """Kafka's AlterConfigOp.OpType (KIP-339)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    times = Counter((each.resource_type, each.resource_name) for each in body.resources)
    wanted = [_check(each, times) for each in body.resources]
    results = await update_topics(gateway, wanted, validate_only=body.validate_only, seconds=_SECONDS_MAX)
    return schema.response(
        throttle_time=NO_THROTTLE,
        responses=tuple(
            _answer(schema, asked, result) for asked, result in zip(body.resources, results, strict=True)
        ),
    )


def _check(asked: Any, times: Counter[tuple[int, str]]) -> TopicUpdate | KafscaleError:
    try:
        if asked.resource_type != TOPIC:
            raise Invalid(f"resources of type {asked.resource_type} have no configs to alter here")
        if times[asked.resource_type, asked.resource_name] > 1:
            raise Invalid(f"the request names topic {asked.resource_name!r} more than once")
        return TopicUpdate(name=check_topic_name(asked.resource_name), configs=_changes(asked.configs))
    except Invalid as error:
        return error


def _changes(configs: Any) -> ConfigChanges:
    put: dict[str, str] = {}
    unset: set[str] = set()
    for each in configs:
        if each.name in put or each.name in unset:
            raise Invalid(f"the request names config {each.name!r} more than once")
        if each.config_operation == _Operation.DELETE:
            unset.add(each.name)
        elif each.config_operation != _Operation.SET:
            raise Invalid(_refusal(each), reason=Reason.INVALID_CONFIG)
        elif each.value is None:
            raise Invalid(f"config {each.name!r} has no value to be set to")
        else:
            put[each.name] = each.value
    return ConfigChanges(put=put, unset=frozenset(unset))


def _refusal(asked: Any) -> str:
    known = {each.value: each.name for each in _Operation}
    operation = known.get(asked.config_operation, f"operation {asked.config_operation}")
    return f"config {asked.name!r} can be SET to a whole value or DELETEd, {operation} is not served"


def _answer(schema: Schema, asked: Any, result: UpdatedTopic | KafscaleError) -> Any:
    error = result if isinstance(result, KafscaleError) else None
    return schema.part(
        "AlterConfigsResourceResponse",
        error_code=ErrorCode.none if error is None else code_of(error),
        error_message=None if error is None else error.message,
        resource_type=asked.resource_type,
        resource_name=asked.resource_name,
    )


HANDLER = Handler(
    api_key=44, name="incremental_alter_configs", versions=Versions(low=0, high=1), handle=handle
)
