"""Metadata: brokers, topics and leaders; creates topics on first use where that is allowed."""

from typing import Any
from uuid import UUID

from kio.schema.errors import ErrorCode
from kio.static.protocol import Entity

from libs.model.cluster import Topic
from libs.model.errors import KafscaleError
from libs.model.ids import Partition, TopicName, TopicPartition
from services.gateway.codec import NO_THROTTLE, Schema
from services.gateway.context import Gateway
from services.gateway.errors import code_of
from services.gateway.handler import Handler, Request, Versions
from services.gateway.topics import check_topic_name


async def handle(gateway: Gateway, request: Request) -> Entity:
    schema, wanted = request.schema, request.body.topics
    # Version 0 has no null: an empty list means all.
    if wanted is None or (request.version == 0 and not wanted):
        answers = [_topic(gateway, schema, topic) for topic in gateway.view.topics.values()]
    else:
        failures = await _create_missing(gateway, request)
        answers = [_wanted(gateway, schema, each, failures) for each in wanted]
    return schema.response(
        throttle_time=NO_THROTTLE,
        brokers=tuple(
            schema.part(
                "MetadataResponseBroker",
                node_id=broker.broker_id,
                host=broker.host,
                port=broker.port,
                rack=broker.zone or None,
            )
            for broker in gateway.brokers.all()
        ),
        cluster_id=gateway.view.cluster_id or None,
        controller_id=gateway.brokers.own.broker_id,
        topics=tuple(answers),
        error_code=ErrorCode.none,
    )


async def _create_missing(gateway: Gateway, request: Request) -> dict[TopicName, KafscaleError]:
    allowed = getattr(request.body, "allow_auto_topic_creation", True)
    if not (allowed and gateway.options.auto_create_topics):
        return {}
    names: list[TopicName] = []
    for each in request.body.topics:
        if each.name is None or _id(each) is not None:
            continue
        try:
            names.append(check_topic_name(each.name))
        except KafscaleError:
            continue  # answered with its error below
    return await gateway.topics.create_missing(names)


def _wanted(gateway: Gateway, schema: Schema, wanted: Any, failures: dict[TopicName, KafscaleError]) -> Any:
    try:
        topic = gateway.topics.find(wanted.name, _id(wanted))
    except KafscaleError as error:
        error = failures.get(TopicName(wanted.name or ""), error)
        # The id of a topic that is asked for by name is not known, and the other way round (KIP-516).
        return schema.part(
            "MetadataResponseTopic",
            error_code=code_of(error),
            name=wanted.name if schema.version >= 12 else wanted.name or "",
            topic_id=_id(wanted),
            is_internal=False,
            partitions=(),
        )
    return _topic(gateway, schema, topic)


def _topic(gateway: Gateway, schema: Schema, topic: Topic) -> Any:
    assignments = gateway.view.assignments
    partitions = []
    for index, leader in enumerate(gateway.brokers.leaders(topic.topic_id, topic.partitions)):
        assignment = assignments.get(TopicPartition(topic.topic_id, Partition(index)))
        partitions.append(
            schema.part(
                "MetadataResponsePartition",
                error_code=ErrorCode.none,
                partition_index=index,
                leader_id=leader,
                leader_epoch=-1 if assignment is None else assignment.leader_epoch,
                # Durability is the object store's: one replica, wherever the factor was set (design section
                # 6).
                replica_nodes=(leader,),
                isr_nodes=(leader,),
                offline_replicas=(),
            )
        )
    return schema.part(
        "MetadataResponseTopic",
        error_code=ErrorCode.none,
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=False,
        partitions=tuple(partitions),
    )


def _id(wanted: Any) -> UUID | None:
    topic_id: UUID | None = getattr(wanted, "topic_id", None)
    return topic_id


HANDLER = Handler(api_key=3, name="metadata", versions=Versions(low=0, high=13), handle=handle)
