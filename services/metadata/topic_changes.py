"""What a topic becomes when it is asked to change. Pure.

Owns: what may change. Does not own: the write and its guard (topics.py), new assignments (controller.py).
Rules: 1 partitions only grow: a key's records would be found elsewhere, and consumers' offsets nowhere; 2 a
topic that grew is not live until the controller has given every new partition an owner; the old ones are
served meanwhile.
"""

from collections.abc import Mapping
from dataclasses import replace

from libs.clients.topic_updates import ConfigChanges, TopicUpdate
from libs.model.cluster import Topic
from libs.model.errors import Invalid, Reason
from libs.model.limits import PARTITIONS_PER_TOPIC_MAX
from libs.model.topic_configs import check_topic_configs


def changed(topic: Topic, update: TopicUpdate) -> Topic:
    """The same topic where all of it is so already. Raises Invalid (INVALID_PARTITIONS, INVALID_CONFIG)."""
    partitions = _partitions(topic, update.partitions)
    configs = _configs(topic, update.configs)
    if (partitions, configs) == (topic.partitions, dict(topic.configs)):
        return topic
    live = topic.live and partitions == topic.partitions
    return replace(topic, partitions=partitions, configs=configs, live=live)


def _partitions(topic: Topic, wanted: int) -> int:
    have = topic.partitions
    # What is there stays, even where it is more than may be made today.
    if wanted in (0, have):
        return have
    if not have < wanted <= PARTITIONS_PER_TOPIC_MAX:
        raise Invalid(
            f"topic {topic.name!r} has {have} partitions and can't have {wanted}: they only grow, "
            f"to {PARTITIONS_PER_TOPIC_MAX} at most",
            reason=Reason.INVALID_PARTITIONS,
        )
    return wanted


def _configs(topic: Topic, wanted: Mapping[str, str] | ConfigChanges | None) -> dict[str, str]:
    if wanted is None:
        return dict(topic.configs)
    if isinstance(wanted, ConfigChanges):
        configs = {name: value for name, value in topic.configs.items() if name not in wanted.unset}
        configs.update(wanted.put)
    else:
        configs = dict(wanted)
    check_topic_configs(configs)
    return configs
