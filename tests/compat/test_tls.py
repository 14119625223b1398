"""Clients of other people over TLS, which verify the certificate as they do by default."""

from pathlib import Path
from typing import Any

import confluent_kafka
import kafka
import pytest
import trio
from confluent_kafka.admin import AdminClient

from tests.support.certificates import ServerCertificate, issue
from tools.stack.embedded import Embedded, open_embedded

TOPIC = "over-tls"
VALUES = [f"{number}".encode() * 1000 for number in range(200)]
SECONDS_MAX = 60.0


def by_librdkafka(bootstrap: str, ca_file: str) -> list[bytes]:
    common: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "security.protocol": "ssl",
        "ssl.ca.location": ca_file,
    }
    producer = confluent_kafka.Producer(common)
    for sent in VALUES:
        producer.produce(TOPIC, sent, partition=0)
    assert producer.flush(SECONDS_MAX) == 0
    consumer = confluent_kafka.Consumer({**common, "group.id": "librdkafka", "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    try:
        found: list[bytes] = []
        while len(found) < len(VALUES):
            messages = consumer.consume(len(VALUES), timeout=SECONDS_MAX)
            assert messages
            for message in messages:
                assert message.error() is None
                value = message.value()
                assert isinstance(value, bytes)
                found.append(value)
        return found
    finally:
        consumer.close()


def by_kafka_python(bootstrap: str, ca_file: str) -> list[bytes]:
    common: dict[str, Any] = {
        "bootstrap_servers": bootstrap,
        "security_protocol": "SSL",
        "ssl_cafile": ca_file,
    }
    producer = kafka.KafkaProducer(**common)
    for value in VALUES:
        producer.send(TOPIC, value, partition=0)
    producer.flush(SECONDS_MAX)
    producer.close()
    consumer = kafka.KafkaConsumer(
        TOPIC,
        **common,
        auto_offset_reset="earliest",
        group_id="kafka-python",
        consumer_timeout_ms=SECONDS_MAX * 1000,
    )
    try:
        return [message.value for _, message in zip(VALUES, consumer, strict=False)]
    finally:
        consumer.close()


def refused_by_librdkafka(bootstrap: str, settings: dict[str, Any]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, **settings})
    with pytest.raises(confluent_kafka.KafkaException):
        admin.list_topics(timeout=3)


def open_with(certificate: ServerCertificate, folder: Path) -> Any:
    settings = {
        "KAFSCALE_KAFKA_TLS_CERT_FILE": str(certificate.cert_file),
        "KAFSCALE_KAFKA_TLS_KEY_FILE": str(certificate.key_file),
        "KAFSCALE_ADVERTISED_HOST": "localhost",
    }
    return open_embedded(folder / "data", **settings)


def bootstrap_of(embedded: Embedded) -> str:
    return f"localhost:{embedded.bootstrap.rpartition(':')[2]}"


@pytest.mark.parametrize("client", [by_librdkafka, by_kafka_python])
async def test_records_there_and_back(client: Any, tmp_path: Path) -> None:
    certificate = issue(tmp_path / "secret", "localhost")
    async with open_with(certificate, tmp_path) as embedded:
        bootstrap = bootstrap_of(embedded)
        assert await trio.to_thread.run_sync(client, bootstrap, str(certificate.ca_file)) == VALUES


async def test_who_does_not_trust_or_encrypt_is_not_served(tmp_path: Path) -> None:
    certificate = issue(tmp_path / "secret", "localhost")
    other = issue(tmp_path / "other", "localhost")
    distrusting = {"security.protocol": "ssl", "ssl.ca.location": str(other.ca_file)}
    async with open_with(certificate, tmp_path) as embedded:
        for settings in ({}, distrusting):
            await trio.to_thread.run_sync(refused_by_librdkafka, bootstrap_of(embedded), settings)


async def test_a_certificate_of_another_name_is_not_trusted(tmp_path: Path) -> None:
    certificate = issue(tmp_path / "secret", "kafka.example.com")
    trusting = {"security.protocol": "ssl", "ssl.ca.location": str(certificate.ca_file)}
    async with open_with(certificate, tmp_path) as embedded:
        await trio.to_thread.run_sync(refused_by_librdkafka, bootstrap_of(embedded), trusting)
