"""A rebalance in the middle: a third member comes and goes while records flow, and nothing is missed."""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import IO

import pytest
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from tests.compat.flow import PARTITIONS, flowing
from tests.compat.members import (
    AiokafkaConsumer,
    ConfluentConsumer,
    KafkaPythonConsumer,
    Member,
    OpenConsumer,
)
from tests.compat.progress import WAIT_SECONDS_MAX, CommittedWatch, Consumed
from tests.support.java import running_tool
from tests.support.names import unique
from tests.support.platform import Platform

CONSUMERS: dict[str, OpenConsumer] = {
    "confluent-kafka": ConfluentConsumer,
    "confluent-kafka, cooperative": partial(ConfluentConsumer, strategy="cooperative-sticky"),
    "kafka-python": KafkaPythonConsumer,
    "kafka-python, cooperative": partial(KafkaPythonConsumer, assignor=CooperativeStickyAssignor),
    "aiokafka": AiokafkaConsumer,
}


@pytest.mark.parametrize("client", CONSUMERS)
def test_a_third_member_comes_and_goes(platform: Platform, client: str) -> None:
    topic, group, consumed = unique("rebalance"), unique("rebalance"), Consumed()
    gateways = platform.bootstraps
    with (
        flowing(platform, topic) as flow,
        CommittedWatch(gateways[-1], group, topic, PARTITIONS) as watch,
        ExitStack() as members,
    ):

        def join(name: str, bootstrap: str) -> Member:
            return Member(name, partial(CONSUMERS[client], bootstrap, group, topic), consumed)

        members.enter_context(join("first", gateways[0]))
        members.enter_context(join("second", gateways[-1]))
        consumed.wait_more_by("first", "second")
        with join("third", gateways[0]):
            consumed.wait_more_by("first", "second", "third")
        consumed.wait_more_by("first", "second")
        ends = flow.stop()
        consumed.wait_all({(index, offset) for index, end in enumerate(ends) for offset in range(end)})
        watch.wait_committed(ends)


def test_java_consumers_share_a_group_that_changes(platform: Platform) -> None:
    topic, group, consumed = unique("rebalance-java"), unique("rebalance-java"), Consumed()

    @contextmanager
    def join(name: str) -> Iterator[None]:
        settings = ("heartbeat.interval.ms=200", "auto.offset.reset=earliest", "auto.commit.interval.ms=200")
        properties = [arg for setting in settings for arg in ("--command-property", setting)]
        show = ("--formatter-property", "print.partition=true", "--formatter-property", "print.offset=true")
        consume = ("--topic", topic, "--group", group, *properties, *show)
        with running_tool("kafka-console-consumer", platform.bootstrap, *consume) as lines:
            reader = threading.Thread(target=read, args=(name, lines), name=name, daemon=True)
            reader.start()
            yield
        reader.join(WAIT_SECONDS_MAX)

    def read(name: str, lines: IO[str]) -> None:
        for line in lines:
            found = re.match(r"Partition:(\d+)\tOffset:(\d+)\t", line)
            if found is not None:
                consumed.add(name, [(int(found[1]), int(found[2]))])

    with (
        flowing(platform, topic) as flow,
        CommittedWatch(platform.bootstraps[-1], group, topic, PARTITIONS) as watch,
        join("first"),
        join("second"),
    ):
        consumed.wait_more_by("first", "second")
        with join("third"):
            consumed.wait_more_by("first", "second", "third")
        consumed.wait_more_by("first", "second")
        ends = flow.stop()
        consumed.wait_all({(index, offset) for index, end in enumerate(ends) for offset in range(end)})
        watch.wait_committed(ends)
