"""What is asked of a topic that changes, and what it is then <-> the messages of proto/metadata_api.

Owns: these values, both directions, once. Does not own: what may change (services/metadata/topic_changes.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from libs.clients import convert
from libs.model.cluster import Topic
from libs.model.errors import Invalid
from libs.model.ids import Revision, TopicId, TopicName
from proto.metadata_api import metadata_api_pb2 as api


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChanges:
    """On top of the configs that are set when the change is made."""

    put: Mapping[str, str] = field(default_factory=dict)
    unset: frozenset[str] = frozenset()
    """Back to their defaults; one that is not set stays so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicUpdate:
    name: TopicName
    topic_id: TopicId | None = None
    """None: whichever topic has the name."""
    partitions: int = 0
    """0: as many as there are."""
    configs: Mapping[str, str] | ConfigChanges | None = None
    """A mapping replaces all that are set; None: they stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatedTopic:
    topic: Topic
    """As it is now, or would be where it was only validated; not live until new partitions are assigned."""
    revision: Revision
    """A view that has reached it shows the topic."""
    changed: bool
    """False where all of it was so already."""


def update_message(update: TopicUpdate, *, validate_only: bool) -> api.UpdateTopicRequest:
    configs, changes = None, None
    if isinstance(update.configs, ConfigChanges):
        changes = api.ConfigChanges(set=dict(update.configs.put), unset=sorted(update.configs.unset))
    elif update.configs is not None:
        configs = api.TopicConfigs(configs=dict(update.configs))
    return api.UpdateTopicRequest(
        name=update.name,
        topic_id=b"" if update.topic_id is None else update.topic_id.bytes,
        partitions=update.partitions,
        configs=configs,
        config_changes=changes,
        validate_only=validate_only,
    )


def update(message: api.UpdateTopicRequest, topic_id: TopicId | None) -> TopicUpdate:
    """`topic_id`: the message's. Raises Invalid."""
    configs: Mapping[str, str] | ConfigChanges | None = None
    if message.HasField("configs"):
        configs = dict(message.configs.configs)
    elif message.HasField("config_changes"):
        configs = ConfigChanges(
            put=dict(message.config_changes.set), unset=frozenset(message.config_changes.unset)
        )
        both = sorted(configs.put.keys() & configs.unset)
        if both:
            raise Invalid(f"config {both[0]!r} is to be set and unset")
    return TopicUpdate(
        name=TopicName(message.name), topic_id=topic_id, partitions=message.partitions, configs=configs
    )


def updated(reply: api.UpdateTopicReply) -> UpdatedTopic:
    """Raises Corrupt."""
    return UpdatedTopic(
        topic=convert.topic(reply.topic), revision=Revision(reply.revision), changed=reply.changed
    )


def updated_message(value: UpdatedTopic) -> api.UpdateTopicReply:
    return api.UpdateTopicReply(
        topic=convert.topic_message(value.topic), revision=value.revision, changed=value.changed
    )
