"""The guide's own commands, with Kafka's Java tools at their default settings."""

from tests.support.java import must_run, run_tool
from tests.support.names import unique
from tests.support.platform import Platform


def test_console_producer_and_consumer_at_their_defaults(platform: Platform) -> None:
    """The topic is created on first use; the producer is idempotent, the consumer is in a group."""
    topic = unique("orders")
    lines = [f"order {number}" for number in range(200)]
    must_run("kafka-console-producer", platform.bootstrap, "--topic", topic, stdin="\n".join(lines) + "\n")
    consumed = must_run(
        "kafka-console-consumer",
        platform.bootstrap,
        *("--topic", topic, "--from-beginning", "--max-messages", "200", "--timeout-ms", "60000"),
    )
    assert sorted(consumed.splitlines()) == sorted(lines)


def test_topics_are_created_listed_described_and_deleted(platform: Platform) -> None:
    topic = unique("payments")
    must_run("kafka-topics", platform.bootstrap, "--create", "--topic", topic, "--partitions", "8")
    assert topic in must_run("kafka-topics", platform.bootstrap, "--list").splitlines()
    described = must_run("kafka-topics", platform.bootstrap, "--describe", "--topic", topic)
    assert "PartitionCount: 8" in described
    assert "ReplicationFactor: 1" in described
    assert [f"Partition: {index}" in described for index in range(8)] == [True] * 8
    assert "Leader: none" not in described
    must_run("kafka-topics", platform.bootstrap, "--delete", "--topic", topic)
    assert topic not in must_run("kafka-topics", platform.bootstrap, "--list").splitlines()


def test_a_topic_that_exists_is_refused_by_its_name(platform: Platform) -> None:
    topic = unique("twice")
    create = ("--create", "--topic", topic)
    must_run("kafka-topics", platform.bootstrap, *create)
    second = run_tool("kafka-topics", platform.bootstrap, *create)
    assert second.returncode == 1
    assert "TopicExistsException" in second.stdout + second.stderr


def test_groups_are_listed_and_described_with_their_lag(platform: Platform) -> None:
    topic, group = unique("shipments"), unique("billing")
    must_run("kafka-topics", platform.bootstrap, "--create", "--topic", topic, "--partitions", "1")
    must_run("kafka-console-producer", platform.bootstrap, "--topic", topic, stdin="a\nb\nc\nd\ne\n")
    must_run(
        "kafka-console-consumer",
        platform.bootstrap,
        *("--topic", topic, "--group", group, "--from-beginning"),
        *("--max-messages", "3", "--timeout-ms", "60000"),
    )
    assert group in must_run("kafka-consumer-groups", platform.bootstrap, "--list").splitlines()
    described = must_run("kafka-consumer-groups", platform.bootstrap, "--describe", "--group", group)
    row = next(line.split() for line in described.splitlines() if topic in line)
    assert row[:6] == [group, topic, "0", "3", "5", "2"]


def test_a_recreated_topic_is_empty(platform: Platform) -> None:
    """Promise 8: the old records do not come back with the name."""
    topic = unique("again")
    must_run("kafka-console-producer", platform.bootstrap, "--topic", topic, stdin="old\n")
    must_run("kafka-topics", platform.bootstrap, "--delete", "--topic", topic)
    must_run("kafka-topics", platform.bootstrap, "--create", "--topic", topic)
    must_run("kafka-console-producer", platform.bootstrap, "--topic", topic, stdin="new\n")
    consumed = must_run(
        "kafka-console-consumer",
        platform.bootstrap,
        *("--topic", topic, "--from-beginning", "--max-messages", "1", "--timeout-ms", "60000"),
    )
    assert consumed.splitlines() == ["new"]
