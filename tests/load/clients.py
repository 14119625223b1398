"""Clients under load: one whose latency is measured, producers without measure, readers from far back.

Owns: librdkafka's threads, what they saw. Does not own: the trouble (scenarios.py).
Rules: 1 an error that an application would see is kept; 2 a record of the measured client says when it was
sent, and its number: the reader sees gaps and doubles by itself.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import confluent_kafka

CLIENT = {"log_level": 2}
PATIENCE_MS = 30 * 60 * 1000
"""A producer that gives up sooner would tell the store's trouble as its own."""
TAIL_EVERY_SECONDS = 0.02
HEAVY_VALUE_BYTES = 16 * 1024
CLOSE_SECONDS_MAX = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds from sending to reading; `count` 0: nothing was read."""

    count: int
    p50: float
    p99: float
    longest: float


class Tail:
    """A steady producer and a reader of its records' end, made by `running_tail`."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self.read: list[tuple[float, float]] = []
        """(sent at, read at), in order of reading."""
        self.errors: list[str] = []
        self.told: list[str] = []
        """What the clients said of brokers and requests, which they try again by themselves."""
        self.acknowledged = 0

    def latency(self, since: float, until: float) -> Latency:
        """Of what was sent in this time (monotonic)."""
        found = sorted(read - sent for sent, read in list(self.read) if since <= sent < until)
        if not found:
            return Latency(count=0, p50=0.0, p99=0.0, longest=0.0)
        at = [found[min(len(found) - 1, int(len(found) * share))] for share in (0.5, 0.99)]
        return Latency(count=len(found), p50=at[0], p99=at[1], longest=found[-1])

    def wait_read_after(self, moment: float, *, seconds_max: float) -> float:
        """How long after `moment` the first record was read that was sent after it. Raises TimeoutError."""
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            found = next((read for sent, read in list(self.read) if sent > moment), None)
            if found is not None:
                return found - moment
            time.sleep(0.02)
        raise TimeoutError(f"nothing that was sent was read for {seconds_max} s")

    def produce(self, stop: threading.Event) -> None:
        def delivered(error: Any, _message: Any) -> None:
            if error is not None:
                self.errors.append(f"a delivery failed: {error}")
            else:
                self.acknowledged += 1

        producer = _producer(self._bootstrap, delivered, {"linger.ms": 0, "error_cb": self._told})
        number = 0
        due = time.monotonic()
        while not stop.is_set():
            producer.produce(self._topic, f"{number} {time.monotonic()}", partition=0)
            number += 1
            due = max(due + TAIL_EVERY_SECONDS, time.monotonic())
            while (left := due - time.monotonic()) > 0:
                producer.poll(left)
        if left_over := producer.flush(CLOSE_SECONDS_MAX):
            self.errors.append(f"{left_over} records were not acknowledged at the end")

    def consume(self, stop: threading.Event) -> None:
        consumer = _consumer(self._bootstrap, self._topic, [0], {"error_cb": self._told})
        expected = 0
        try:
            while not stop.is_set():
                message = consumer.poll(0.1)
                if message is None or message.error() is not None:
                    continue
                number, _, sent = message.value().decode().partition(" ")
                if int(number) != expected:
                    self.errors.append(f"record {number} was read instead of {expected}")
                expected = int(number) + 1
                self.read.append((float(sent), time.monotonic()))
        finally:
            consumer.close()

    def _told(self, error: Any) -> None:
        self.told.append(str(error))


class Heavy:
    """Produces as fast as it is taken, to every partition of its topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self.acknowledged_bytes = 0
        self.errors: list[str] = []

    def produce(self, stop: threading.Event, *, bytes_max: int | None = None) -> None:
        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self.errors.append(f"a delivery failed: {error}")
            else:
                self.acknowledged_bytes += len(message.value())

        producer = _producer(self._bootstrap, delivered, {"queue.buffering.max.kbytes": 32768})
        value = bytes(range(256)) * (HEAVY_VALUE_BYTES // 256)
        sent = 0
        while not stop.is_set() and (bytes_max is None or sent < bytes_max):
            try:
                producer.produce(self._topic, value)
            except BufferError:
                producer.poll(0.05)
                continue
            sent += HEAVY_VALUE_BYTES
            producer.poll(0)
        if left_over := producer.flush(CLOSE_SECONDS_MAX):
            self.errors.append(f"{left_over} records were not acknowledged at the end")


class FarBack:
    """Reads a topic from its beginning, over and over."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = partitions
        self.read_bytes = 0
        self.errors: list[str] = []

    def consume(self, stop: threading.Event) -> None:
        while not stop.is_set():
            left = set(range(self._partitions))
            consumer = _consumer(self._bootstrap, self._topic, sorted(left), {"enable.partition.eof": True})
            try:
                while left and not stop.is_set():
                    for message in consumer.consume(200, timeout=0.1):
                        error = message.error()
                        if error is None:
                            self.read_bytes += len(message.value())
                        elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                            left.discard(message.partition())
            finally:
                consumer.close()


@contextmanager
def threads(errors: list[str], *runs: Callable[[threading.Event], None]) -> Iterator[None]:
    """Each runs until the block ends; what they raise goes to `errors`."""
    stop = threading.Event()

    def guarded(run: Callable[[threading.Event], None]) -> None:
        try:
            run(stop)
        except Exception as error:  # a thread's error comes out in the outcome
            errors.append(repr(error))

    started = [threading.Thread(target=guarded, args=(run,), daemon=True) for run in runs]
    for thread in started:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in started:
            thread.join(2 * CLOSE_SECONDS_MAX)
            if thread.is_alive():
                errors.append("a client did not close")


@contextmanager
def running_tail(bootstrap: str, topic: str) -> Iterator[Tail]:
    tail = Tail(bootstrap, topic)
    with threads(tail.errors, tail.consume), threads(tail.errors, tail.produce):
        yield tail


def _producer(bootstrap: str, delivered: Callable[[Any, Any], None], more: dict[str, Any]) -> Any:
    return confluent_kafka.Producer(
        {
            **CLIENT,
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "message.timeout.ms": PATIENCE_MS,
            "on_delivery": delivered,
            **more,
        }
    )


def _consumer(bootstrap: str, topic: str, partitions: list[int], more: dict[str, Any] | None = None) -> Any:
    consumer = confluent_kafka.Consumer(
        {
            **CLIENT,
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **(more or {}),
        }
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0) for partition in partitions])
    return consumer
