"""What clients may do with records beside producing and consuming them: times, sizes, acks=0, recreation."""

from random import Random

import confluent_kafka

from tests.compat.python_clients import CLIENTS, CODECS, PARTITIONS
from tests.support.clients import WAIT_SECONDS_MAX, create_topic, delete_topic, produce_all
from tests.support.names import unique
from tests.support.platform import Platform

BASE_MS = 1_700_000_000_000
STEP_MS = 10
RECORDS = 20
MIB = 1024 * 1024


def _consumer(platform: Platform, group: str) -> confluent_kafka.Consumer:
    return confluent_kafka.Consumer(
        {"bootstrap.servers": platform.bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
    )


def test_offsets_are_found_by_time(platform: Platform) -> None:
    """In batches of every codec: the time of each record is inside the compressed part."""
    topic = unique("times")
    create_topic(platform.bootstrap, topic, len(CODECS))
    times = [BASE_MS + STEP_MS * number for number in range(RECORDS)]
    for partition, codec in enumerate(CODECS):
        produce_all(
            platform.bootstrap,
            topic,
            [(partition, b"a value that compresses well " * 10) for _ in times],
            timestamps_ms=times,
            settings={"compression.type": codec},
        )
    consumer = _consumer(platform, unique("times"))
    try:
        for asked_ms, expected in (
            (BASE_MS - 1, 0),
            (BASE_MS + 5 * STEP_MS, 5),
            (BASE_MS + 5 * STEP_MS + 1, 6),
            (times[-1], RECORDS - 1),
            (times[-1] + 1, confluent_kafka.OFFSET_END),
        ):
            asked = [
                confluent_kafka.TopicPartition(topic, partition, asked_ms) for partition in range(len(CODECS))
            ]
            found = consumer.offsets_for_times(asked, timeout=WAIT_SECONDS_MAX)
            assert [each.offset for each in found] == [expected] * len(CODECS), asked_ms
    finally:
        consumer.close()


def test_a_large_record_goes_through_and_a_larger_one_is_refused(platform: Platform) -> None:
    topic, larger = unique("large"), unique("larger")
    create_topic(platform.bootstrap, topic, 1)
    create_topic(platform.bootstrap, larger, 1, max_message_bytes=str(4 * MIB))
    settings = {"message.max.bytes": 8 * MIB}
    rand = Random(7)
    fits, too_large = rand.randbytes(1_000_000), rand.randbytes(3 * MIB)
    produce_all(platform.bootstrap, topic, [(0, fits)], settings=settings)
    produce_all(platform.bootstrap, larger, [(0, too_large)], settings=settings)

    producer = confluent_kafka.Producer({"bootstrap.servers": platform.bootstrap, **settings})
    refused: list[confluent_kafka.KafkaError | None] = []
    producer.produce(topic, too_large, on_delivery=lambda error, _message: refused.append(error))
    assert producer.flush(WAIT_SECONDS_MAX) == 0
    assert [each and each.code() for each in refused] == [confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE]

    for name, value in ((topic, fits), (larger, too_large)):
        assert CLIENTS["confluent-kafka"][1](platform.bootstrap, name, 1, unique("large")) == [value]
        assert CLIENTS["aiokafka"][1](platform.bootstrap, name, 1, unique("large")) == [value]


def test_acks_0_is_answered_by_nothing_and_stored(platform: Platform) -> None:
    topic, group = unique("acks-0"), unique("acks-0")
    create_topic(platform.bootstrap, topic, PARTITIONS)
    values = [b"%d" % number for number in range(100)]
    records = [(number % PARTITIONS, value) for number, value in enumerate(values)]
    produce_all(platform.bootstrap, topic, records, settings={"acks": 0})
    assert sorted(CLIENTS["kafka-python"][1](platform.bootstrap, topic, len(values), group)) == sorted(values)


def test_a_recreated_topic_starts_anew_for_producers_and_groups(platform: Platform) -> None:
    """Promise 8: neither the old records nor the group's old offsets belong to the new topic."""
    topic, group = unique("reborn"), unique("reborn")
    producer = confluent_kafka.Producer({"bootstrap.servers": platform.bootstrap})
    for life in (b"old", b"new"):
        create_topic(platform.bootstrap, topic, 1)
        for number in range(3):
            producer.produce(topic, b"%s %d" % (life, number), partition=0)
        assert producer.flush(WAIT_SECONDS_MAX) == 0
        consumer = _consumer(platform, group)
        try:
            consumer.subscribe([topic])
            found = consumer.consume(3, timeout=WAIT_SECONDS_MAX)
            assert [each.value() for each in found] == [b"%s %d" % (life, number) for number in range(3)]
            consumer.commit(asynchronous=False)
        finally:
            consumer.close()
        delete_topic(platform.bootstrap, topic)
