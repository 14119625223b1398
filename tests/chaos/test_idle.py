"""A stack in which nothing happens costs nothing: no PUT, no write to etcd."""

import time

import confluent_kafka

from tests.chaos.load import CLIENT, PARTITIONS, wait_until
from tests.chaos.scene import LEASE_SECONDS, Scene
from tests.support.names import unique

QUIET_SECONDS_MAX = 60.0
LOOK_SECONDS = LEASE_SECONDS + 1.0
"""Longer than a lease: every keep-alive comes by, and a watch that was lost and found would show."""


def test_an_idle_stack_writes_nothing(scene: Scene) -> None:
    """Clients are connected: a producer that sent a record, a group that read and committed it."""
    topic = unique("idle")
    scene.create_topic(topic)
    producer = confluent_kafka.Producer(
        {**CLIENT, "bootstrap.servers": scene.bootstrap, "enable.idempotence": True}
    )
    for partition in range(PARTITIONS):
        producer.produce(topic, b"before the silence", partition=partition)
    assert producer.flush(QUIET_SECONDS_MAX) == 0
    consumer = confluent_kafka.Consumer(
        {
            **CLIENT,
            "bootstrap.servers": scene.bootstrap,
            "group.id": unique("idle-group"),
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([topic])
        values: list[bytes | None] = []

        def has_read_all() -> bool:
            values.extend(message.value() for message in consumer.consume(100, timeout=0.1))
            return len(values) == PARTITIONS

        wait_until(has_read_all, seconds_max=QUIET_SECONDS_MAX)
        consumer.commit(asynchronous=False)
        _wait_quiet(scene)
        puts, revision = scene.put_count(), scene.etcd_revision()
        deadline = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < deadline:
            assert consumer.consume(100, timeout=0.5) == []
            producer.poll(0)
        assert scene.put_count() == puts
        assert scene.etcd_revision() == revision
    finally:
        consumer.close()


def _wait_quiet(scene: Scene) -> None:
    """Until whatever went on before (restarts, rebalances) is over."""
    seen: list[object] = []

    def is_quiet() -> bool:
        seen.append((scene.put_count(), scene.etcd_revision()))
        return len(seen) > 4 and len(set(map(str, seen[-5:]))) == 1

    wait_until(is_quiet, seconds_max=QUIET_SECONDS_MAX, every_seconds=0.3)
