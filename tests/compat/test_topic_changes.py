"""CreatePartitions and IncrementalAlterConfigs by Kafka's own tools, librdkafka and kafka-python."""

import confluent_kafka
import confluent_kafka.admin
import kafka
import kafka.admin
import kafka.errors
import pytest
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions

from tests.support.clients import WAIT_SECONDS_MAX, create_topic, produce_all
from tests.support.java import must_run, run_tool
from tests.support.names import unique
from tests.support.platform import Platform


def _topic(platform: Platform, partitions: int = 2, **config: str) -> str:
    topic = unique("changed")
    create_topic(platform.bootstraps[0], topic, partitions, **config)
    return topic


def _admin(platform: Platform) -> confluent_kafka.admin.AdminClient:
    """Its controller is the gateway that it asks first."""
    return confluent_kafka.admin.AdminClient({"bootstrap.servers": platform.bootstraps[0]})


def _records(platform: Platform, topic: str, partition: int, count: int) -> list[bytes | None]:
    settings = {"bootstrap.servers": platform.bootstraps[0], "group.id": "changes"}
    consumer = confluent_kafka.Consumer(settings)
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0)])
        return [each.value() for each in consumer.consume(count, WAIT_SECONDS_MAX)]
    finally:
        consumer.close()


def _own_configs(platform: Platform, topic: str) -> dict[str, str | None]:
    """Those that are set."""
    admin = _admin(platform)
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    described = future.result(WAIT_SECONDS_MAX).values()
    return {each.name: each.value for each in described if not each.is_default}


def test_kafkas_tool_adds_partitions(platform: Platform) -> None:
    topic = _topic(platform)
    alter = ("kafka-topics", platform.bootstrap, "--alter", "--topic", topic, "--partitions")
    must_run(*alter, "70")
    described = must_run("kafka-topics", platform.bootstrap, "--describe", "--topic", topic)
    assert "PartitionCount: 70" in described
    assert "Leader: none" not in described
    produce_all(platform.bootstrap, topic, [(0, b"old"), (2, b"new"), (69, b"last")])
    assert [_records(platform, topic, each, 1) for each in (0, 2, 69)] == [[b"old"], [b"new"], [b"last"]]
    for count in ("70", "3", "5000"):
        refused = run_tool(*alter, count)
        assert refused.returncode == 1
        assert "InvalidPartitionsException" in refused.stdout + refused.stderr


def test_kafkas_tool_alters_configs(platform: Platform) -> None:
    topic = _topic(platform, retention_ms="3600000")
    of_topic = ("--entity-type", "topics", "--entity-name", topic)
    configs = ("kafka-configs", platform.bootstrap, *of_topic)
    must_run(*configs, "--alter", "--add-config", "segment.ms=60000,cleanup.policy=[compact,delete]")
    described = must_run(*configs, "--describe")
    assert all(
        each in described
        for each in ("retention.ms=3600000", "segment.ms=60000", "cleanup.policy=compact,delete")
    )
    must_run(*configs, "--alter", "--delete-config", "retention.ms", "--add-config", "segment.ms=70000")
    described = must_run(*configs, "--describe")
    assert "segment.ms=70000" in described
    assert "retention.ms=" not in described
    refused = run_tool(*configs, "--alter", "--add-config", "segment.ms=soon")
    assert refused.returncode == 1
    assert "InvalidConfigurationException" in refused.stdout + refused.stderr
    broker = ("--entity-type", "brokers", "--entity-default")
    refused = run_tool(
        "kafka-configs", platform.bootstrap, *broker, "--alter", "--add-config", "log.cleaner.threads=2"
    )
    assert refused.returncode == 1
    assert "have no configs to alter here" in refused.stdout + refused.stderr


def test_librdkafka(platform: Platform) -> None:
    topic, admin = _topic(platform), _admin(platform)
    admin.create_partitions([NewPartitions(topic, 9)], validate_only=True)[topic].result(WAIT_SECONDS_MAX)
    assert len(admin.list_topics(topic, WAIT_SECONDS_MAX).topics[topic].partitions) == 2
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(WAIT_SECONDS_MAX)
    produce_all(platform.bootstraps[0], topic, [(index, b"%d" % index) for index in range(4)])
    assert _records(platform, topic, 3, 1) == [b"3"]
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        admin.create_partitions([NewPartitions(topic, 3)])[topic].result(WAIT_SECONDS_MAX)
    assert caught.value.args[0].code() == confluent_kafka.KafkaError.INVALID_PARTITIONS


def test_librdkafka_alters_configs(platform: Platform) -> None:
    topic, admin = _topic(platform, retention_ms="5000000", flush_ms="6"), _admin(platform)

    def alter(*entries: ConfigEntry) -> None:
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=list(entries))
        (future,) = admin.incremental_alter_configs([resource]).values()
        future.result(WAIT_SECONDS_MAX)

    put, drop = AlterConfigOpType.SET, AlterConfigOpType.DELETE
    alter(
        ConfigEntry("segment.ms", "7000", incremental_operation=put),
        ConfigEntry("flush.ms", None, incremental_operation=drop),
    )
    assert _own_configs(platform, topic) == {"retention.ms": "5000000", "segment.ms": "7000"}
    with pytest.raises(confluent_kafka.KafkaException) as caught:
        alter(ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND))
    assert caught.value.args[0].code() == confluent_kafka.KafkaError.INVALID_CONFIG
    assert _own_configs(platform, topic) == {"retention.ms": "5000000", "segment.ms": "7000"}


def test_a_smaller_largest_batch_holds_at_once(embedded: Platform) -> None:
    topic, admin = _topic(embedded), _admin(embedded)
    produce_all(embedded.bootstrap, topic, [(0, bytes(5000))])
    entry = ConfigEntry("max.message.bytes", "1000", incremental_operation=AlterConfigOpType.SET)
    (future,) = admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]
    ).values()
    future.result(WAIT_SECONDS_MAX)
    with pytest.raises(AssertionError, match="MSG_SIZE_TOO_LARGE"):
        produce_all(embedded.bootstrap, topic, [(0, bytes(5000))])


def test_kafka_python(platform: Platform) -> None:
    topic = _topic(platform)
    admin = kafka.admin.KafkaAdminClient(bootstrap_servers=platform.bootstraps[0])
    try:
        admin.create_partitions({topic: kafka.admin.NewPartitions(5)})
        produce_all(platform.bootstraps[0], topic, [(4, b"new")])
        assert _records(platform, topic, 4, 1) == [b"new"]
        with pytest.raises(kafka.errors.InvalidPartitionsError):
            admin.create_partitions({topic: kafka.admin.NewPartitions(5)})
        resource = kafka.admin.ConfigResource(
            kafka.admin.ConfigResourceType.TOPIC, topic, configs={"segment.ms": "9000"}
        )
        admin.alter_configs([resource])
        assert _own_configs(platform, topic) == {"segment.ms": "9000"}
    finally:
        admin.close()
