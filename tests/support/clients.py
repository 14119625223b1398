"""What several tests do with a real client.

Owns: creating topics, producing to known partitions with confluent-kafka.
"""

from collections.abc import Iterable, Mapping

import confluent_kafka
import confluent_kafka.admin
from confluent_kafka.cimpl import NewTopic

WAIT_SECONDS_MAX = 60.0


def create_topic(bootstrap: str, topic: str, partitions: int, **config: str) -> None:
    """Waits until it is there; `config` with underscores for dots."""
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
    configs = {name.replace("_", "."): value for name, value in config.items()}
    admin.create_topics([NewTopic(topic, partitions, 1, config=configs)])[topic].result(WAIT_SECONDS_MAX)


def delete_topic(bootstrap: str, topic: str) -> None:
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(WAIT_SECONDS_MAX)


def produce_all(
    bootstrap: str,
    topic: str,
    records: Iterable[tuple[int, bytes]],
    *,
    timestamps_ms: Iterable[int] = (),
    settings: Mapping[str, str | int] | None = None,
) -> None:
    """(partition, value) each, waits for all acknowledgements; fails where one is an error."""
    failed: list[object] = []

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failed.append(error)

    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, **(settings or {})})
    times = iter(timestamps_ms)
    for partition, value in records:
        producer.produce(topic, value, partition=partition, timestamp=next(times, 0), on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(WAIT_SECONDS_MAX) == 0
    assert not failed, failed
