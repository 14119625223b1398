"""CreatePartitions: more partitions of topics; which replicas have them is not a client's to say."""

from collections import Counter
from typing import Any

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.clients.topic_updates import TopicUpdate, UpdatedTopic
from libs.model.errors import Invalid, KafscaleError, NotFound, Reason
from libs.model.limits import PARTITIONS_PER_TOPIC_MAX
from services.gateway.codec import NO_THROTTLE, Schema, milliseconds_of
from services.gateway.context import Gateway
from services.gateway.errors import code_of
from services.gateway.handler import Handler, Request, Versions
from services.gateway.topic_updates import update_topics
from services.gateway.topics import check_topic_name


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    times = Counter(each.name for each in body.topics)
    wanted = [_check(gateway, each, times) for each in body.topics]
    results = await update_topics(
        gateway,
        wanted,
        validate_only=body.validate_only,
        seconds=milliseconds_of(body.timeout) / 1000,
    )
    return schema.response(
        throttle_time=NO_THROTTLE,
        results=tuple(
            _answer(schema, asked.name, _refused_if_same(result))
            for asked, result in zip(body.topics, results, strict=True)
        ),
    )


def _check(gateway: Gateway, asked: Any, times: Counter[str]) -> TopicUpdate | KafscaleError:
    try:
        name = check_topic_name(asked.name)
        if times[asked.name] > 1:
            raise Invalid(f"the request names topic {asked.name!r} more than once")
        if not 1 <= asked.count <= PARTITIONS_PER_TOPIC_MAX:
            raise Invalid(
                f"{asked.count} partitions; 1 to {PARTITIONS_PER_TOPIC_MAX} are possible",
                reason=Reason.INVALID_PARTITIONS,
            )
        if asked.assignments is not None:
            _check_assignments(gateway, asked)
        return TopicUpdate(name=name, partitions=asked.count)
    except (Invalid, NotFound) as error:
        return error


def _check_assignments(gateway: Gateway, asked: Any) -> None:
    """Where replicas are assigned by hand, there is one assignment for each new partition."""
    have = gateway.topics.find(asked.name, None).partitions
    if have < asked.count and len(asked.assignments) != asked.count - have:
        raise Invalid(
            f"topic {asked.name!r} has {have} partitions: {asked.count} of them need {asked.count - have} "
            f"assignments, not {len(asked.assignments)}",
            reason=Reason.INVALID_REPLICA_ASSIGNMENT,
        )


def _refused_if_same(result: UpdatedTopic | KafscaleError) -> UpdatedTopic | KafscaleError:
    """Kafka refuses to make as many partitions as there are."""
    if isinstance(result, KafscaleError) or result.changed:
        return result
    topic = result.topic
    return Invalid(
        f"topic {topic.name!r} has {topic.partitions} partitions already", reason=Reason.INVALID_PARTITIONS
    )


def _answer(schema: Schema, name: str, result: UpdatedTopic | KafscaleError) -> Any:
    error = result if isinstance(result, KafscaleError) else None
    return schema.part(
        "CreatePartitionsTopicResult",
        name=name,
        error_code=ErrorCode.none if error is None else code_of(error),
        error_message=None if error is None else error.message,
    )


HANDLER = Handler(api_key=37, name="create_partitions", versions=Versions(low=0, high=3), handle=handle)
