"""`KAFSCALE_AUTO_CREATE_TOPICS=false`: a name that does not exist is an error and stays one."""

from collections.abc import Iterator
from functools import partial

import confluent_kafka
import confluent_kafka.admin
import pytest

from tests.support.background import running
from tests.support.clients import WAIT_SECONDS_MAX, create_topic, produce_all
from tests.support.java import run_tool
from tests.support.names import unique
from tests.support.platform import Platform, open_platform
from tests.support.raw_kafka import API_METADATA, ask

UNKNOWN_TOPIC_OR_PARTITION = 3


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    settings = {"KAFSCALE_AUTO_CREATE_TOPICS": "false"}
    with running(partial(open_platform, "embedded", tmp_path_factory.mktemp("strict"), **settings)) as opened:
        yield opened.value


def test_a_name_that_is_unknown_is_told_and_not_created(strict: Platform) -> None:
    topic = unique("unknown")
    asked = [{"name": topic}]
    told = ask(strict.bootstrap, API_METADATA, 8, topics=asked, allow_auto_topic_creation=True).topics[0]
    assert (told.name, int(told.error_code)) == (topic, UNKNOWN_TOPIC_OR_PARTITION)

    settings = {"bootstrap.servers": strict.bootstrap, "topic.metadata.propagation.max.ms": 0}
    producer = confluent_kafka.Producer(settings)
    failed: list[confluent_kafka.KafkaError | None] = []
    producer.produce(topic, b"x", on_delivery=lambda error, _message: failed.append(error))
    assert producer.flush(WAIT_SECONDS_MAX) == 0
    unknown = (confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART, confluent_kafka.KafkaError._UNKNOWN_TOPIC)
    assert [each is not None and each.code() in unknown for each in failed] == [True]

    impatient = ("--command-property", "max.block.ms=1000")
    java = run_tool("kafka-console-producer", strict.bootstrap, "--topic", topic, *impatient, stdin="x\n")
    assert "not present in metadata" in java.stdout + java.stderr

    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": strict.bootstrap})
    assert topic not in admin.list_topics(timeout=WAIT_SECONDS_MAX).topics
    create_topic(strict.bootstrap, topic, 1)
    produce_all(strict.bootstrap, topic, [(0, b"x")])
