"""confluent-kafka, kafka-python and aiokafka at their default settings, blocking, one shape for all.

Owns: producing values to partitions in turn, consuming a number of values in a group.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import aiokafka
import confluent_kafka
import kafka

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
"""By the number that a batch's attributes say."""
PARTITIONS = 8
WAIT_SECONDS_MAX = 60.0

Produce = Callable[[str, str, str, Sequence[bytes]], None]
"""(bootstrap, topic, codec, values)"""
Consume = Callable[[str, str, int, str], list[bytes]]
"""(bootstrap, topic, count, group) -> values, from the beginning where the group is new"""


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


def _confluent_consume(bootstrap: str, topic: str, count: int, group: str) -> list[bytes]:
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
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


def _kafka_python_consume(bootstrap: str, topic: str, count: int, group: str) -> list[bytes]:
    consumer = kafka.KafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"
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


def _aiokafka_consume(bootstrap: str, topic: str, count: int, group: str) -> list[bytes]:
    async def consume() -> list[bytes]:
        values: list[bytes] = []
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        async with aiokafka.AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"
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
