"""confluent-kafka, kafka-python and aiokafka at their default settings, with every codec.

Eight partitions (over three owners in the stack), produced through one gateway, consumed through the other.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import aiokafka
import confluent_kafka
import kafka
import pytest

from tests.support.clients import create_topic
from tests.support.names import unique
from tests.support.platform import Platform
from tests.support.raw_kafka import stored_batches

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
"""By the number that a batch's attributes say."""
PARTITIONS = 8
RECORDS = 400
WAIT_SECONDS_MAX = 60.0

Produce = Callable[[str, str, str, Sequence[bytes]], None]
"""(bootstrap, topic, codec, values)"""
Consume = Callable[[str, str, int], list[bytes]]
"""(bootstrap, topic, count) -> values, in a consumer group from the beginning"""


def _confluent_produce(bootstrap: str, topic: str, codec: str, values: Sequence[bytes]) -> None:
    failed: list[object] = []

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failed.append(error)

    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "compression.type": codec})
    for index, value in enumerate(values):
        producer.produce(topic, value, partition=index % PARTITIONS, on_delivery=delivered)
    assert producer.flush(WAIT_SECONDS_MAX) == 0
    assert not failed


def _confluent_consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": unique("confluent"),
        "auto.offset.reset": "earliest",
    }
    consumer = confluent_kafka.Consumer(settings)
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    try:
        while len(values) < count and time.monotonic() < deadline:
            for message in consumer.consume(100, timeout=1.0):
                assert message.error() is None, message.error()
                value = message.value()
                assert isinstance(value, bytes)
                values.append(value)
    finally:
        consumer.close()
    return values


def _kafka_python_produce(bootstrap: str, topic: str, codec: str, values: Sequence[bytes]) -> None:
    chosen = None if codec == "none" else codec
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, compression_type=chosen)
    try:
        sent = [
            producer.send(topic, value, partition=index % PARTITIONS) for index, value in enumerate(values)
        ]
        producer.flush(timeout=WAIT_SECONDS_MAX)
        assert all(future.succeeded() for future in sent)
    finally:
        producer.close()


def _kafka_python_consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = kafka.KafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=unique("kafka-python"), auto_offset_reset="earliest"
    )
    values: list[bytes] = []
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    try:
        while len(values) < count and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=1000).values():
                values.extend(record.value for record in records)
    finally:
        consumer.close()
    return values


def _aiokafka_produce(bootstrap: str, topic: str, codec: str, values: Sequence[bytes]) -> None:
    async def produce() -> None:
        chosen = None if codec == "none" else codec
        async with aiokafka.AIOKafkaProducer(
            bootstrap_servers=bootstrap, compression_type=chosen
        ) as producer:
            sent = [
                await producer.send(topic, value, partition=index % PARTITIONS)
                for index, value in enumerate(values)
            ]
            await asyncio.wait_for(asyncio.gather(*sent), WAIT_SECONDS_MAX)

    asyncio.run(produce())


def _aiokafka_consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    async def consume() -> list[bytes]:
        values: list[bytes] = []
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        async with aiokafka.AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=unique("aiokafka"), auto_offset_reset="earliest"
        ) as consumer:
            while len(values) < count and time.monotonic() < deadline:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    values.extend(record.value for record in records)
        return values

    return asyncio.run(consume())


CLIENTS: dict[str, tuple[Produce, Consume]] = {
    "confluent-kafka": (_confluent_produce, _confluent_consume),
    "kafka-python": (_kafka_python_produce, _kafka_python_consume),
    "aiokafka": (_aiokafka_produce, _aiokafka_consume),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_produced_is_consumed_by_every_client(platform: Platform, client: str, codec: str) -> None:
    produce, consume = CLIENTS[client]
    topic = unique("codec")
    create_topic(platform.bootstrap, topic, PARTITIONS)
    values = [b"%s %d" % (codec.encode() * 20, number) for number in range(RECORDS)]
    produce(platform.bootstraps[0], topic, codec, values)
    assert sorted(consume(platform.bootstraps[-1], topic, RECORDS)) == sorted(values)
    # A client that was not offered what it needs to compress says nothing and sends plain batches.
    stored = [
        batch
        for partition in range(PARTITIONS)
        for batch in stored_batches(platform.bootstraps[0], topic, partition)
    ]
    assert {CODECS[batch.codec] for batch in stored} == {codec}
    assert sum(batch.records for batch in stored) == RECORDS


@pytest.mark.parametrize("client", CLIENTS)
def test_a_topic_is_created_on_first_use(platform: Platform, client: str) -> None:
    produce, consume = CLIENTS[client]
    topic = unique("first-use")
    producer_settings = {"bootstrap.servers": platform.bootstrap}
    if client == "confluent-kafka":
        # librdkafka can't name a partition that it does not know yet.
        producer = confluent_kafka.Producer(producer_settings)
        producer.produce(topic, b"hello")
        assert producer.flush(WAIT_SECONDS_MAX) == 0
    else:
        produce(platform.bootstrap, topic, "none", [b"hello"])
    assert consume(platform.bootstrap, topic, 1) == [b"hello"]
