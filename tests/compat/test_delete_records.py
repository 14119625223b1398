"""DeleteRecords by Kafka's own tool (version 2), librdkafka (1) and kafka-python, through any gateway."""

import json
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin
import kafka
import kafka.admin
import kafka.errors
import pytest

from tests.support.clients import WAIT_SECONDS_MAX, create_topic, produce_all
from tests.support.java import must_run, run_tool
from tests.support.names import unique
from tests.support.platform import Platform

RECORDS = 20


def _topic(platform: Platform, **config: str) -> str:
    topic = unique("deleted")
    create_topic(platform.bootstrap, topic, 2, **config)
    produce_all(platform.bootstrap, topic, [(index % 2, b"%d" % index) for index in range(2 * RECORDS)])
    return topic


def _ends(platform: Platform, topic: str) -> list[tuple[int, int]]:
    """Log start and end of both partitions, asked at the last gateway."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": platform.bootstraps[-1], "group.id": "ends"})
    try:
        return [
            consumer.get_watermark_offsets(
                confluent_kafka.TopicPartition(topic, partition), timeout=WAIT_SECONDS_MAX
            )
            for partition in (0, 1)
        ]
    finally:
        consumer.close()


def test_kafkas_tool(platform: Platform, tmp_path: Path) -> None:
    topic = _topic(platform)
    wanted = [
        {"topic": topic, "partition": 0, "offset": 7},
        {"topic": topic, "partition": 1, "offset": -1},
    ]
    file = tmp_path / "offsets.json"
    file.write_text(json.dumps({"partitions": wanted, "version": 1}))
    told = must_run("kafka-delete-records", platform.bootstrap, "--offset-json-file", str(file))
    assert f"partition: {topic}-0\tlow_watermark: 7" in told
    assert f"partition: {topic}-1\tlow_watermark: {RECORDS}" in told
    assert _ends(platform, topic) == [(7, RECORDS), (RECORDS, RECORDS)]
    args = ("--topic", topic, "--partition", "0", "--from-beginning", "--max-messages", "13")
    read = must_run("kafka-console-consumer", platform.bootstrap, *args, "--timeout-ms", "60000")
    assert read.splitlines() == [str(2 * offset) for offset in range(7, RECORDS)]
    wanted[0]["offset"] = RECORDS + 1
    file.write_text(json.dumps({"partitions": wanted[:1], "version": 1}))
    refused = run_tool("kafka-delete-records", platform.bootstrap, "--offset-json-file", str(file))
    assert "OffsetOutOfRangeException" in refused.stdout + refused.stderr


def test_librdkafka(platform: Platform) -> None:
    topic = _topic(platform)
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": platform.bootstrap})
    first = confluent_kafka.TopicPartition(topic, 0, 5)
    second = confluent_kafka.TopicPartition(topic, 1, confluent_kafka.OFFSET_END)
    answers = admin.delete_records([first, second])
    deleted = {at.partition: future.result(WAIT_SECONDS_MAX) for at, future in answers.items()}
    assert {index: each.low_watermark for index, each in deleted.items()} == {0: 5, 1: RECORDS}
    assert _ends(platform, topic) == [(5, RECORDS), (RECORDS, RECORDS)]


def test_kafka_python(platform: Platform) -> None:
    topic = _topic(platform)
    admin = kafka.admin.KafkaAdminClient(bootstrap_servers=platform.bootstrap)
    try:
        admin.delete_records({kafka.TopicPartition(topic, 0): 9})
        assert _ends(platform, topic) == [(9, RECORDS), (0, RECORDS)]
        with pytest.raises(kafka.errors.OffsetOutOfRangeError):
            admin.delete_records({kafka.TopicPartition(topic, 1): RECORDS + 1})
    finally:
        admin.close()


def test_a_topic_that_is_only_compacted_keeps_its_records(platform: Platform) -> None:
    topic = _topic(platform, cleanup_policy="compact")
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": platform.bootstrap})
    (future,) = admin.delete_records([confluent_kafka.TopicPartition(topic, 0, 5)]).values()
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        future.result(WAIT_SECONDS_MAX)
    assert caught.value.args[0].code() == confluent_kafka.KafkaError.POLICY_VIOLATION
    assert _ends(platform, topic) == [(0, RECORDS), (0, RECORDS)]
