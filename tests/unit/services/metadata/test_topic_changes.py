"""What a topic may become."""

from dataclasses import replace

import pytest

from libs.clients.topic_updates import ConfigChanges, TopicUpdate
from libs.model.cluster import Topic
from libs.model.errors import Invalid, Reason
from libs.model.ids import TopicName
from libs.model.limits import PARTITIONS_PER_TOPIC_MAX
from services.metadata.topic_changes import changed
from tests.support.segments import TOPIC_ID

NAME = TopicName("orders")
TOPIC = Topic(name=NAME, topic_id=TOPIC_ID, partitions=4, configs={"retention.ms": "5", "segment.ms": "7"})


def put(**configs: str) -> dict[str, str]:
    return {name.replace("_", "."): value for name, value in configs.items()}


@pytest.mark.parametrize(
    "update",
    [
        TopicUpdate(name=NAME),
        TopicUpdate(name=NAME, partitions=4, configs=dict(TOPIC.configs)),
        TopicUpdate(
            name=NAME, configs=ConfigChanges(put=put(retention_ms="5"), unset=frozenset({"flush.ms"}))
        ),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_what_is_so_already_changes_nothing(update: TopicUpdate, live: bool) -> None:
    topic = replace(TOPIC, live=live)
    assert changed(topic, update) is topic


def test_a_topic_that_grew_is_not_live_until_its_partitions_are_assigned() -> None:
    grown = changed(TOPIC, TopicUpdate(name=NAME, partitions=PARTITIONS_PER_TOPIC_MAX))
    assert grown == replace(TOPIC, partitions=PARTITIONS_PER_TOPIC_MAX, live=False)


@pytest.mark.parametrize("live", [True, False])
def test_other_configs_leave_it_as_live_as_it_is(live: bool) -> None:
    topic = replace(TOPIC, live=live)
    assert changed(topic, TopicUpdate(name=NAME, configs={})) == replace(topic, configs={})
    configs = ConfigChanges(put=put(flush_ms="9", retention_ms="6"), unset=frozenset({"segment.ms"}))
    assert changed(topic, TopicUpdate(name=NAME, configs=configs)) == replace(
        topic, configs=put(flush_ms="9", retention_ms="6")
    )


@pytest.mark.parametrize("wanted", [-1, 1, 3, PARTITIONS_PER_TOPIC_MAX + 1])
def test_partitions_only_grow_and_to_a_bound(wanted: int) -> None:
    with pytest.raises(Invalid, match=f"has 4 partitions and can't have {wanted}") as caught:
        changed(TOPIC, TopicUpdate(name=NAME, partitions=wanted))
    assert caught.value.reason is Reason.INVALID_PARTITIONS


def test_more_partitions_than_may_be_made_today_stay() -> None:
    large = replace(TOPIC, partitions=PARTITIONS_PER_TOPIC_MAX + 5)
    assert changed(large, TopicUpdate(name=NAME, partitions=large.partitions)) is large
    with pytest.raises(Invalid):
        changed(large, TopicUpdate(name=NAME, partitions=large.partitions + 1))


@pytest.mark.parametrize(
    "configs", [{"no.such": "1"}, {"retention.ms": "soon"}, ConfigChanges(put={"retention.ms": "soon"})]
)
def test_configs_are_checked_as_those_of_a_new_topic(configs: dict[str, str] | ConfigChanges) -> None:
    with pytest.raises(Invalid) as caught:
        changed(TOPIC, TopicUpdate(name=NAME, partitions=9, configs=configs))
    assert caught.value.reason is Reason.INVALID_CONFIG
