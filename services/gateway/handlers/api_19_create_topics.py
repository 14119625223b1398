"""CreateTopics: topics, partitions and configs; any replication factor is accepted and described as 1."""

from collections import Counter
from typing import Any

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.metadata import TopicToCreate
from libs.model.cluster import Topic
from libs.model.errors import Invalid, KafscaleError, Reason
from libs.model.limits import PARTITIONS_PER_TOPIC_MAX
from services.gateway.codec import NO_THROTTLE, Schema, milliseconds_of
from services.gateway.config import GatewayOptions
from services.gateway.context import Gateway
from services.gateway.errors import code_of
from services.gateway.handler import Handler, Request, Versions
from services.gateway.handlers.api_32_describe_configs import topic_configs
from services.gateway.topics import check_topic_name

_DEFAULT_PARTITIONS = -1
_SECONDS_MAX = 60.0


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    times = Counter(each.name for each in body.topics)
    wanted = [_check(each, times) for each in body.topics]
    good = [each for each in wanted if isinstance(each, TopicToCreate)]
    results = iter(await _create(gateway, request, good) if good else [])
    answers = []
    for asked, each in zip(body.topics, wanted, strict=True):
        result = next(results) if isinstance(each, TopicToCreate) else each
        answers.append(
            _failed(schema, asked.name, result)
            if isinstance(result, KafscaleError)
            else _created(schema, result, gateway.options)
        )
    return schema.response(throttle_time=NO_THROTTLE, topics=tuple(answers))


def _check(asked: Any, times: Counter[str]) -> TopicToCreate | KafscaleError:
    try:
        name = check_topic_name(asked.name)
        if times[asked.name] > 1:
            raise Invalid(f"the request names topic {asked.name!r} more than once")
        if asked.replication_factor == 0 or asked.replication_factor < -1:
            raise Invalid(
                f"a replication factor of {asked.replication_factor}; use -1 or 1",
                reason=Reason.INVALID_REPLICATION_FACTOR,
            )
        configs = {}
        for config in asked.configs:
            if config.value is None:
                raise Invalid(f"config {config.name!r} has no value", reason=Reason.INVALID_CONFIG)
            configs[config.name] = config.value
        return TopicToCreate(name=name, partitions=_partitions(asked), configs=configs)
    except Invalid as error:
        return error


def _partitions(asked: Any) -> int:
    """Where replicas are assigned by hand, their number counts; where they are is not a client's to say."""
    if asked.assignments:
        if {each.partition_index for each in asked.assignments} != set(range(len(asked.assignments))):
            raise Invalid(
                "the assigned partitions are not 0, 1, 2 and so on",
                reason=Reason.INVALID_REPLICA_ASSIGNMENT,
            )
        if asked.num_partitions != _DEFAULT_PARTITIONS:
            raise Invalid("a number of partitions and assignments exclude each other")
        return len(asked.assignments)
    count: int = asked.num_partitions
    if count != _DEFAULT_PARTITIONS and not 1 <= count <= PARTITIONS_PER_TOPIC_MAX:
        raise Invalid(
            f"{count} partitions; 1 to {PARTITIONS_PER_TOPIC_MAX} are possible",
            reason=Reason.INVALID_PARTITIONS,
        )
    return count


async def _create(
    gateway: Gateway, request: Request, wanted: list[TopicToCreate]
) -> list[Topic | KafscaleError]:
    body = request.body
    validate_only = getattr(body, "validate_only", False)
    try:
        results = await gateway.metadata.create_topics(
            wanted,
            validate_only=validate_only,
            timeout_seconds=min(max(milliseconds_of(body.timeout) / 1000, 0.0), _SECONDS_MAX),
        )
    except KafscaleError as error:
        return [error] * len(wanted)
    if not validate_only:
        await gateway.topics.wait_shown([each.topic_id for each in results if isinstance(each, Topic)])
    return results


def _created(schema: Schema, topic: Topic, options: GatewayOptions) -> Any:
    return schema.part(
        "CreatableTopicResult",
        name=topic.name,
        topic_id=topic.topic_id,
        error_code=ErrorCode.none,
        error_message=None,
        num_partitions=topic.partitions,
        replication_factor=1,
        configs=tuple(
            schema.part(
                "CreatableTopicConfigs",
                name=config.name,
                value=config.value,
                read_only=False,
                config_source=config.source,
                is_sensitive=False,
            )
            for config in topic_configs(topic.configs, options.topic_defaults())
        )
        if schema.version >= 5
        else (),
    )


def _failed(schema: Schema, name: str, error: KafscaleError) -> Any:
    return schema.part(
        "CreatableTopicResult",
        name=name,
        topic_id=None,
        error_code=code_of(error),
        error_message=error.message,
        configs=(),
    )


HANDLER = Handler(api_key=19, name="create_topics", versions=Versions(low=2, high=7), handle=handle)
