"""Updates of topics on their way: leaving, replacing by nothing and changing differ."""

from uuid import UUID

import pytest

from libs.clients.topic_updates import (
    ConfigChanges,
    TopicUpdate,
    UpdatedTopic,
    update,
    update_message,
    updated,
    updated_message,
)
from libs.model.cluster import Topic
from libs.model.errors import Corrupt, Invalid
from libs.model.ids import Revision, TopicId, TopicName
from proto.metadata_api import metadata_api_pb2 as api

NAME = TopicName("orders")
TOPIC_ID = TopicId(UUID(int=7))


@pytest.mark.parametrize(
    "value",
    [
        TopicUpdate(name=NAME),
        TopicUpdate(name=NAME, topic_id=TOPIC_ID, partitions=9),
        TopicUpdate(name=NAME, partitions=-1, configs={}),
        TopicUpdate(name=NAME, configs={"retention.ms": "5"}),
        TopicUpdate(name=NAME, configs=ConfigChanges()),
        TopicUpdate(name=NAME, configs=ConfigChanges(put={"a": "1"}, unset=frozenset({"b", "c"}))),
    ],
)
def test_what_is_asked_arrives(value: TopicUpdate) -> None:
    message = api.UpdateTopicRequest.FromString(update_message(value, validate_only=True).SerializeToString())
    assert message.validate_only
    assert update(message, TopicId(UUID(bytes=message.topic_id)) if message.topic_id else None) == value


def test_a_config_is_not_set_and_unset() -> None:
    changes = ConfigChanges(put={"a": "1"}, unset=frozenset({"a"}))
    with pytest.raises(Invalid, match="'a'"):
        update(update_message(TopicUpdate(name=NAME, configs=changes), validate_only=False), None)


@pytest.mark.parametrize("changed", [True, False])
def test_what_came_of_it_arrives(changed: bool) -> None:
    topic = Topic(name=NAME, topic_id=TOPIC_ID, partitions=3, configs={"flush.ms": "1"}, live=False)
    value = UpdatedTopic(topic=topic, revision=Revision(12), changed=changed)
    assert updated(updated_message(value)) == value


def test_an_answer_without_a_topic_is_corrupt() -> None:
    with pytest.raises(Corrupt):
        updated(api.UpdateTopicReply())
