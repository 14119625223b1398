"""DeleteTopics: by name, or by id from version 6 on."""

from types import SimpleNamespace
from typing import Any

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.model.errors import KafscaleError, NotFound
from libs.model.ids import TopicId, TopicName
from services.gateway.codec import NO_THROTTLE, Schema
from services.gateway.context import Gateway
from services.gateway.errors import code_of
from services.gateway.handler import Handler, Request, Versions

_BY_ID_FROM = 6

Deleted = tuple[TopicName, TopicId] | KafscaleError


async def handle(gateway: Gateway, request: Request) -> Entity:
    body, schema = request.body, request.schema
    if schema.version >= _BY_ID_FROM:
        asked = list(body.topics)
    else:
        asked = [SimpleNamespace(name=name, topic_id=None) for name in body.topic_names]
    references = [
        TopicName(each.name or "") if each.topic_id is None else TopicId(each.topic_id) for each in asked
    ]
    results: list[Deleted]
    try:
        results = list(await gateway.metadata.delete_topics(references)) if references else []
    except KafscaleError as error:
        results = [error] * len(references)
    await gateway.topics.wait_hidden([each[1] for each in results if not isinstance(each, KafscaleError)])
    answers = [_answer(schema, each, result) for each, result in zip(asked, results, strict=True)]
    return schema.response(throttle_time=NO_THROTTLE, responses=tuple(answers))


def _answer(schema: Schema, asked: Any, result: Deleted) -> Any:
    if not isinstance(result, KafscaleError):
        name, topic_id = result
        return schema.part("DeletableTopicResult", name=name, topic_id=topic_id, error_code=ErrorCode.none)
    code = code_of(result)
    if isinstance(result, NotFound):
        by_name = asked.topic_id is None
        code = ErrorCode.unknown_topic_or_partition if by_name else ErrorCode.unknown_topic_id
    return schema.part(
        "DeletableTopicResult",
        name=asked.name,
        topic_id=asked.topic_id,
        error_code=code,
        error_message=result.message,
    )


HANDLER = Handler(api_key=20, name="delete_topics", versions=Versions(low=1, high=6), handle=handle)
