"""Clients under load: one whose latency is measured, producers without measure, readers from far back.

Owns: librdkafka's threads, what they saw. Does not own: the trouble (scenarios.py), judging latencies
(tail_kept.py).
Rules: 1 an error that an application would see is kept; 2 a record of the measured client says when it was
sent, and its number: the reader sees gaps and doubles by itself; 3 what the others sent is read back and held
against their acknowledgements (tests/support/ledger.py).
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import confluent_kafka

from tests.load.tail_kept import Latency, latency_of
from tests.support.ledger import UNKNOWN_OFFSET, Ledger, Place, Stamp, compare_reads

CLIENT = {"log_level": 2}
PATIENCE_MS = 30 * 60 * 1000
"""A producer that gives up sooner would tell the store's trouble as its own."""
TAIL_EVERY_SECONDS = 0.02
HEAVY_VALUE_BYTES = 16 * 1024
CLOSE_SECONDS_MAX = 120.0
STALLED_SECONDS_MAX = 120.0
"""A reader that waits longer for its next record has not got all."""
FINDINGS_TOLD = 5
_TELLS_ENDS: Mapping[str, Any] = MappingProxyType({"enable.partition.eof": True})


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

    def latency(self, *windows: tuple[float, float]) -> Latency:
        """Of what was sent in these times (monotonic: since, until)."""
        return latency_of(self.read, windows)

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
        consumer = _consumer(self._bootstrap, self._topic, {0: 0}, {"error_cb": self._told})
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
        self._ledger = Ledger()
        self.acknowledged_bytes = 0
        self.errors: list[str] = []

    def produce(self, stop: threading.Event, *, bytes_max: int | None = None) -> None:
        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self.errors.append(f"a delivery failed: {error}")
                return
            self.acknowledged_bytes += len(message.value())
            offset = message.offset()
            place = Place(message.partition(), UNKNOWN_OFFSET if offset is None or offset < 0 else offset)
            self._ledger.acknowledged(_stamp(message), place)

        producer = _producer(self._bootstrap, delivered, {"queue.buffering.max.kbytes": 32768})
        filler = b" " + bytes(range(256)) * (HEAVY_VALUE_BYTES // 256)
        sent = number = 0
        while not stop.is_set() and (bytes_max is None or sent < bytes_max):
            value = (Stamp(self._topic, number).value() + filler)[:HEAVY_VALUE_BYTES]
            try:
                producer.produce(self._topic, value)
            except BufferError:
                producer.poll(0.05)
                continue
            number += 1
            sent += HEAVY_VALUE_BYTES
            producer.poll(0)
        if left_over := producer.flush(CLOSE_SECONDS_MAX):
            self.errors.append(f"{left_over} records were not acknowledged at the end")

    def read_back(self, partitions: int) -> dict[Place, Stamp]:
        """All of the topic, from its beginning to its end, judged; to be called when nobody produces to it
        any more. What is wrong goes to `errors`."""
        reading: dict[Place, Stamp] = {}
        left = set(range(partitions))
        consumer = _consumer(self._bootstrap, self._topic, dict.fromkeys(left, 0), _TELLS_ENDS)
        heard = time.monotonic()
        try:
            while left and time.monotonic() - heard < STALLED_SECONDS_MAX:
                for message in consumer.consume(200, timeout=0.1):
                    heard = time.monotonic()
                    if message.error() is None:
                        reading[Place(message.partition(), message.offset())] = _stamp(message)
                    elif _is_end(message):
                        left.discard(message.partition())
        finally:
            consumer.close()
        if left:
            self.errors.append(f"partitions {sorted(left)} of {self._topic} were not read to their ends")
        self.errors += [str(each) for each in self._ledger.judge(reading)[:FINDINGS_TOLD]]
        return reading


class FarBack:
    """Reads a topic from its beginning, over and over, but for its rests."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._next = dict.fromkeys(range(partitions), 0)
        self._ended: set[int] = set()
        self._rests = threading.Event()
        self._reads: dict[Place, Stamp] = {}
        """What was read first at each place."""
        self.read_bytes = 0
        self.errors: list[str] = []

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Nothing is asked for while the block goes on; then it goes on where it was."""
        self._rests.set()
        try:
            yield
        finally:
            self._rests.clear()

    def consume(self, stop: threading.Event) -> None:
        while not stop.is_set():
            if self._rests.is_set():
                stop.wait(0.02)
                continue
            # Closed for a rest: a client that is not polled fetches on by itself.
            consumer = _consumer(self._bootstrap, self._topic, self._next, _TELLS_ENDS)
            try:
                while not stop.is_set() and not self._rests.is_set() and self._take(consumer):
                    pass
            finally:
                consumer.close()

    def _take(self, consumer: Any) -> bool:
        """False at the end of everything: then all begins anew."""
        for message in consumer.consume(200, timeout=0.1):
            if message.error() is None:
                self.read_bytes += len(message.value())
                self._next[message.partition()] = message.offset() + 1
                self._saw(Place(message.partition(), message.offset()), _stamp(message))
            elif _is_end(message):
                self._ended.add(message.partition())
        if self._ended < self._next.keys():
            return True
        self._ended.clear()
        self._next = dict.fromkeys(self._next, 0)
        return False

    def _saw(self, place: Place, stamp: Stamp) -> None:
        first = self._reads.setdefault(place, stamp)
        if first != stamp and len(self.errors) < FINDINGS_TOLD:
            self.errors.append(f"{place} was read as {first}, then as {stamp}")

    def judge(self, truth: dict[Place, Stamp]) -> None:
        """Holds all that was read against a reading of everything; what is wrong goes to `errors`."""
        found = compare_reads(truth, self._reads.items())
        self.errors += [str(each) for each in found[:FINDINGS_TOLD]]


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


def _consumer(bootstrap: str, topic: str, offsets: Mapping[int, int], more: Mapping[str, Any]) -> Any:
    consumer = confluent_kafka.Consumer(
        {
            **CLIENT,
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **more,
        }
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, *at) for at in sorted(offsets.items())])
    return consumer


def _stamp(message: Any) -> Stamp:
    return Stamp.of(message.value().partition(b" ")[0])


def _is_end(message: Any) -> bool:
    return bool(message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF)
