"""The guide's own commands, with Kafka's Java tools at their default settings."""

from tests.support.java import must_run, run_tool, running_tool
from tests.support.names import unique
from tests.support.platform import Platform
from tests.support.raw_kafka import stored_batches

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def _consume(platform: Platform, topic: str, count: int, *args: str) -> list[str]:
    return must_run(
        "kafka-console-consumer",
        platform.bootstrap,
        *("--topic", topic, "--from-beginning", "--max-messages", str(count), "--timeout-ms", "60000"),
        *args,
    ).splitlines()


def test_console_producer_and_consumer_at_their_defaults(platform: Platform) -> None:
    """The topic is created on first use; the producer is idempotent, the consumer is in a group."""
    topic = unique("orders")
    lines = [f"order {number}" for number in range(200)]
    must_run("kafka-console-producer", platform.bootstrap, "--topic", topic, stdin="\n".join(lines) + "\n")
    assert _consume(platform, topic, len(lines)) == lines
    stored = stored_batches(platform.bootstraps[-1], topic, 0)
    assert all(batch.producer_id >= 0 for batch in stored)


def test_every_codec_of_the_java_producer_is_stored_as_it_came(platform: Platform) -> None:
    topic = unique("java-codecs")
    lines = []
    for codec in CODECS:
        line = f"{codec} " * 50
        chosen = ("--topic", topic, "--compression-codec", codec)
        must_run("kafka-console-producer", platform.bootstrap, *chosen, stdin=line + "\n")
        lines.append(line)
    assert _consume(platform, topic, len(CODECS)) == lines
    stored = stored_batches(platform.bootstraps[0], topic, 0)
    assert [CODECS[batch.codec] for batch in stored] == list(CODECS)


def test_topics_are_created_listed_described_and_deleted(platform: Platform) -> None:
    topic = unique("payments")
    must_run("kafka-topics", platform.bootstrap, "--create", "--topic", topic, "--partitions", "8")
    assert topic in must_run("kafka-topics", platform.bootstrap, "--list").splitlines()
    described = must_run("kafka-topics", platform.bootstrap, "--describe", "--topic", topic)
    assert "TopicId: " in described
    assert "PartitionCount: 8" in described
    assert "ReplicationFactor: 1" in described
    assert [f"Partition: {index}" in described for index in range(8)] == [True] * 8
    assert "Leader: none" not in described
    must_run("kafka-topics", platform.bootstrap, "--delete", "--topic", topic)
    assert topic not in must_run("kafka-topics", platform.bootstrap, "--list").splitlines()


def test_what_is_refused_is_named(platform: Platform) -> None:
    """A topic that exists, one that doesn't, and a request that is not served yet."""
    topic = unique("twice")
    create = ("--create", "--topic", topic)
    must_run("kafka-topics", platform.bootstrap, *create)
    for tool, args, error in (
        ("kafka-topics", create, "TopicExistsException"),
        ("kafka-topics", ("--delete", "--topic", unique("never-made")), "does not exist as expected"),
        ("kafka-configs", ("--describe", "--entity-type", "users"), "DESCRIBE_CLIENT_QUOTAS"),
    ):
        refused = run_tool(tool, platform.bootstrap, *args)
        assert refused.returncode == 1
        assert error in refused.stdout + refused.stderr


def test_configs_of_a_topic_are_described(platform: Platform) -> None:
    topic = unique("configured")
    config = ("--config", "retention.ms=3600000")
    must_run("kafka-topics", platform.bootstrap, "--create", "--topic", topic, *config)
    of_topic = ("--describe", "--entity-type", "topics", "--entity-name", topic)
    described = must_run("kafka-configs", platform.bootstrap, *of_topic)
    assert "retention.ms=3600000" in described
    assert "max.message.bytes=" not in described
    assert "max.message.bytes=1048588" in must_run("kafka-configs", platform.bootstrap, *of_topic, "--all")


def test_a_group_is_described_and_resumes_where_it_left(platform: Platform) -> None:
    topic, group = unique("shipments"), unique("billing")
    groups = ("kafka-consumer-groups", platform.bootstrap)
    must_run("kafka-topics", platform.bootstrap, "--create", "--topic", topic, "--partitions", "1")
    must_run("kafka-console-producer", platform.bootstrap, "--topic", topic, stdin="a\nb\nc\nd\ne\n")
    assert _consume(platform, topic, 3, "--group", group) == ["a", "b", "c"]
    assert group in must_run(*groups, "--list").splitlines()
    described = must_run(*groups, "--describe", "--group", group)
    row = next(line.split() for line in described.splitlines() if topic in line)
    assert row[:6] == [group, topic, "0", "3", "5", "2"]

    consume = ("kafka-console-consumer", platform.bootstrap, "--topic", topic, "--group", group)
    with running_tool(*consume) as resumed:
        assert [resumed.readline(), resumed.readline()] == ["d\n", "e\n"]
        members = must_run(*groups, "--describe", "--group", group, "--members", "--verbose")
        row = next(line.split() for line in members.splitlines() if line.startswith(group))
        assert (row[2], row[4], row[6]) == ("/127.0.0.1", "1", f"{topic}:0"), members
        assert "Stable" in must_run(*groups, "--describe", "--group", group, "--state")
    described = must_run(*groups, "--describe", "--group", group)
    row = next(line.split() for line in described.splitlines() if topic in line)
    assert row[:6] == [group, topic, "0", "5", "5", "0"]
    must_run(*groups, "--delete", "--group", group)
    assert group not in must_run(*groups, "--list").splitlines()


def test_a_recreated_topic_is_empty(platform: Platform) -> None:
    """Promise 8: the old records do not come back with the name."""
    topic = unique("again")
    must_run("kafka-console-producer", platform.bootstrap, "--topic", topic, stdin="old\n")
    must_run("kafka-topics", platform.bootstrap, "--delete", "--topic", topic)
    must_run("kafka-topics", platform.bootstrap, "--create", "--topic", topic)
    must_run("kafka-console-producer", platform.bootstrap, "--topic", topic, stdin="new\n")
    assert _consume(platform, topic, 1) == ["new"]
