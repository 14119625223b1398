"""Records that flow while a test changes something around them.

Owns: producing to every partition in turn on a thread, the end offsets that were acknowledged.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import confluent_kafka

from tests.compat.progress import WAIT_SECONDS_MAX
from tests.support.clients import create_topic
from tests.support.platform import Platform

PARTITIONS = 8
FLOW_SECONDS = 0.01
"""Between two records: a trickle, each record a request of its own, so that the machine keeps up."""


class Flow:
    """Records that are produced all the time to every partition in turn, until `stop`."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
        self._topic = topic
        self._stopping = threading.Event()
        self._ends = [0] * PARTITIONS
        self._errors: list[object] = []
        self._thread = threading.Thread(target=self._run, name="flow", daemon=True)
        self._thread.start()

    def stop(self) -> list[int]:
        """The end offset of each partition; every record was acknowledged."""
        self._stopping.set()
        self._thread.join(WAIT_SECONDS_MAX)
        assert not self._thread.is_alive()
        assert not self._errors
        return self._ends

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(FLOW_SECONDS):
            value = str(number).encode()
            self._producer.produce(
                self._topic, value, partition=number % PARTITIONS, on_delivery=self._delivered
            )
            self._producer.poll(0)
            number += 1
        if self._producer.flush(WAIT_SECONDS_MAX):
            self._errors.append("not all was delivered")

    def _delivered(self, error: object, message: confluent_kafka.Message) -> None:
        if error is not None:
            self._errors.append(error)
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        self._ends[partition] = max(self._ends[partition], offset + 1)


@contextmanager
def flowing(platform: Platform, topic: str) -> Iterator[Flow]:
    create_topic(platform.bootstrap, topic, PARTITIONS)
    flow = Flow(platform.bootstrap, topic)
    try:
        yield flow
    finally:
        flow.stop()
