"""Records that go, beside those that stay: DeleteRecords, a short retention, a topic that comes and goes.

Owns: three topics, who writes to them and removes from them, what must be left. Does not own: the load whose
records stay (load.py), the verification of the bucket (bucket_check.py).
Rules: 1 of `trimmed` goes what DeleteRecords asked for and nothing else: its log begins between the greatest
offset that was acknowledged and the greatest that was asked for; 2 of `brief` all goes by time once nobody
writes, and nothing above what was written; clocks that jump may take it sooner; 3 a life of `fleeting` that
begins when all is well holds nothing of the lives before. During trouble a gateway that has not heard of a
deletion may take records for the old topic: so earlier lives are not judged, only collected.
"""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import confluent_kafka
import confluent_kafka.admin
from confluent_kafka.cimpl import NewTopic

from tests.chaos.load import CLIENT, Truth, wait_until
from tests.support.clients import create_topic
from tests.support.ledger import UNKNOWN_OFFSET, Ledger, Place, Stamp, Violation

TRIMMED: Final = "chaos-trimmed"
BRIEF: Final = "chaos-brief"
FLEETING: Final = "chaos-fleeting"
PARTITIONS: Final = 2
BRIEF_MS: Final = 10_000
ROUND_SECONDS: Final = 0.1
TRIM_SECONDS: Final = 1.5
LIFE_SECONDS: Final = 3.0
ADMIN_SECONDS_MAX: Final = 10.0
CLOSE_SECONDS_MAX: Final = 60.0
HEARD_SECONDS: Final = 2.0
"""In which every gateway hears of a topic, when all is well."""
LAST_RECORDS: Final = 200
_TOPIC_IS_GONE: Final = {
    confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
    confluent_kafka.KafkaError.UNKNOWN_TOPIC_ID,
}


class Vanishing:
    """Made by `running_vanishing`."""

    def __init__(self, bootstrap: str, *, seed: int) -> None:
        self.errors: list[str] = []
        """What an application would have seen."""
        self.trims = 0
        """DeleteRecords that were acknowledged."""
        self.lives = 0
        """Of the fleeting topic, deleted all."""
        self._bootstrap = bootstrap
        self._admin = confluent_kafka.admin.AdminClient({**CLIENT, "bootstrap.servers": bootstrap})
        self._rand = random.Random(seed)
        self._ledgers = {TRIMMED: Ledger(), BRIEF: Ledger()}
        self._asked = dict.fromkeys(range(PARTITIONS), 0)
        """The greatest offset below which all was to go."""
        self._told = dict.fromkeys(range(PARTITIONS), 0)
        """The greatest log start that was acknowledged."""
        self._stop = threading.Event()
        self._threads = ExitStack()

    def begin(self) -> None:
        create_topic(self._bootstrap, TRIMMED, PARTITIONS, retention_ms="-1")
        create_topic(self._bootstrap, BRIEF, PARTITIONS, retention_ms=str(BRIEF_MS))
        for run in (self._produce, self._trim, self._come_and_go):
            thread = threading.Thread(target=self._guarded, args=(run,), daemon=True)
            thread.start()
            self._threads.callback(self._join, thread)

    def end(self) -> None:
        """Nobody writes or removes any more; everything that was sent is acknowledged, or `errors` tells."""
        self._stop.set()
        self._threads.close()

    def judge(self, *, seconds_max: float) -> list[Violation]:
        """When all is well again and `end` was called. Blocking."""
        return [
            *self._judge_trimmed(seconds_max),
            *self._judge_brief(seconds_max),
            *self._judge_last_life(seconds_max),
        ]

    # What goes on.

    def _produce(self) -> None:
        numbers = {(topic, partition): 0 for topic in self._ledgers for partition in range(PARTITIONS)}
        producer = self._producer(self._booked)
        while not self._stop.is_set():
            for (topic, partition), number in numbers.items():
                producer.produce(topic, Stamp(topic, number).value(), partition=partition)
                numbers[topic, partition] = number + 1
            producer.poll(0)
            self._stop.wait(ROUND_SECONDS)
        if left_over := producer.flush(CLOSE_SECONDS_MAX):
            self.errors.append(f"vanishing: {left_over} records were not acknowledged at the end")

    def _booked(self, error: Any, message: Any) -> None:
        if error is not None:
            self.errors.append(f"vanishing: a delivery to {message.topic()} failed: {error}")
            return
        self._ledgers[message.topic()].acknowledged(Stamp.of(message.value()), _place_of(message))

    def _trim(self) -> None:
        while not self._stop.wait(TRIM_SECONDS):
            partition = self._rand.randrange(PARTITIONS)
            end = self._ledgers[TRIMMED].ends().get(partition, 0)
            before = self._rand.randint(self._told[partition], max(end - 1, self._told[partition]))
            if before == 0:
                continue
            # Asked is asked: without an answer it may happen later.
            self._asked[partition] = max(self._asked[partition], before)
            at = confluent_kafka.TopicPartition(TRIMMED, partition, before)
            try:
                deleted = self._admin.delete_records([at], request_timeout=ADMIN_SECONDS_MAX)[at].result()
            except confluent_kafka.KafkaException:
                continue
            self.trims += 1
            self._told[partition] = max(self._told[partition], deleted.low_watermark)

    def _come_and_go(self) -> None:
        while not self._stop.is_set():
            if self._made_anew():
                self._live()
            else:
                self._stop.wait(ROUND_SECONDS)

    def _made_anew(self) -> bool:
        """Whether there is a new topic now. The next call asks again for what is not known."""
        try:
            deleted = self._admin.delete_topics([FLEETING], request_timeout=ADMIN_SECONDS_MAX)[FLEETING]
            deleted.result()
            self.lives += 1
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() not in _TOPIC_IS_GONE:
                return False
        try:
            wanted = NewTopic(FLEETING, PARTITIONS, 1)
            self._admin.create_topics([wanted], request_timeout=ADMIN_SECONDS_MAX)[FLEETING].result()
        except confluent_kafka.KafkaException:
            return False
        return True

    def _live(self) -> None:
        """A producer of its own for each life; what it is told is not booked (rule 3)."""
        producer = self._producer(lambda _error, _message: None)
        name = f"life-{self.lives}"
        number = 0
        ends_at = time.monotonic() + LIFE_SECONDS
        while not self._stop.is_set() and time.monotonic() < ends_at:
            for partition in range(PARTITIONS):
                producer.produce(FLEETING, Stamp(name, number).value(), partition=partition)
            number += 1
            producer.poll(0)
            self._stop.wait(ROUND_SECONDS)
        producer.purge()
        producer.flush(0)

    # What is left.

    def _judge_trimmed(self, seconds_max: float) -> list[Violation]:
        starts = {partition: low for partition, (low, _) in self._watermarks(TRIMMED, seconds_max).items()}
        found = log_starts(starts, asked=self._asked, told=self._told)
        ledger = self._ledgers[TRIMMED]
        truth = Truth(self._bootstrap, TRIMMED, partitions=PARTITIONS, starts=starts)
        truth.read_on(ledger.ends(), seconds_max=seconds_max)
        return [*found, *ledger.judge(truth.found, starts=starts)]

    def _judge_brief(self, seconds_max: float) -> list[Violation]:
        """Rule 2."""
        now: dict[int, tuple[int, int]] = {}

        def is_gone() -> bool:
            now.update(self._watermarks(BRIEF, seconds_max))
            return all(low == high for low, high in now.values())

        found = []
        try:
            wait_until(is_gone, seconds_max=seconds_max, every_seconds=1.0)
        except TimeoutError:
            what = f"{BRIEF} has {now} after {seconds_max:.0f} s, its retention is {BRIEF_MS} ms"
            found.append(Violation(kind="kept too long", what=what))
        for partition, end in self._ledgers[BRIEF].ends().items():
            if now[partition][1] < end:
                what = (
                    f"partition {partition} of {BRIEF} ends at {now[partition][1]}, acknowledged is {end - 1}"
                )
                found.append(Violation(kind="lost", what=what))
        return found

    def _judge_last_life(self, seconds_max: float) -> list[Violation]:
        """Rule 3; the topic is deleted in the end, so that nothing of any life may be left."""
        wait_until(self._made_anew, seconds_max=seconds_max, every_seconds=0.5)
        time.sleep(HEARD_SECONDS)
        ledger = Ledger()

        def booked(error: Any, message: Any) -> None:
            if error is not None:
                self.errors.append(f"vanishing: a delivery to the last life failed: {error}")
            else:
                ledger.acknowledged(Stamp.of(message.value()), _place_of(message))

        producer = self._producer(booked)
        for number in range(LAST_RECORDS):
            value = Stamp("last-life", number).value()
            producer.produce(FLEETING, value, partition=number % PARTITIONS)
        if left_over := producer.flush(CLOSE_SECONDS_MAX):
            self.errors.append(f"vanishing: {left_over} records of the last life were not acknowledged")
        truth = Truth(self._bootstrap, FLEETING, partitions=PARTITIONS)
        truth.read_on(ledger.ends(), seconds_max=seconds_max)
        self._admin.delete_topics([FLEETING], request_timeout=ADMIN_SECONDS_MAX)[FLEETING].result()
        return [
            *ledger.judge(truth.found),
            *(
                Violation(kind="of an earlier life", what=f"{stamp} is at {place} of the last {FLEETING}")
                for place, stamp in truth.found.items()
                if stamp.producer != "last-life"
            ),
        ]

    def _watermarks(self, topic: str, seconds_max: float) -> dict[int, tuple[int, int]]:
        """Where the log of each partition begins and ends."""
        consumer = confluent_kafka.Consumer(
            {**CLIENT, "bootstrap.servers": self._bootstrap, "group.id": f"{topic}-judge"}
        )
        try:
            return {
                partition: consumer.get_watermark_offsets(
                    confluent_kafka.TopicPartition(topic, partition), timeout=seconds_max, cached=False
                )
                for partition in range(PARTITIONS)
            }
        finally:
            consumer.close()

    # Clients.

    def _producer(self, delivered: Any) -> Any:
        return confluent_kafka.Producer(
            {
                **CLIENT,
                "bootstrap.servers": self._bootstrap,
                "enable.idempotence": True,
                "on_delivery": delivered,
            }
        )

    def _guarded(self, run: Any) -> None:
        try:
            run()
        except Exception as error:  # a thread's error comes out in the findings
            self.errors.append(f"vanishing: {error!r}")

    def _join(self, thread: threading.Thread) -> None:
        thread.join(2 * CLOSE_SECONDS_MAX)
        if thread.is_alive():
            self.errors.append("vanishing: a client did not close")


def log_starts(starts: dict[int, int], *, asked: dict[int, int], told: dict[int, int]) -> list[Violation]:
    """Rule 1, by partition. `told` was acknowledged; what was only asked for may have happened."""
    found = []
    for partition, start in starts.items():
        if start < told[partition]:
            what = (
                f"the log of partition {partition} begins at {start}, and {told[partition]} was acknowledged"
            )
            found.append(Violation(kind="log start went back", what=what))
        if start > max(asked[partition], told[partition]):
            what = f"the log of partition {partition} begins at {start}, asked for was {asked[partition]}"
            found.append(Violation(kind="deleted too much", what=what))
    return found


@contextmanager
def running_vanishing(bootstrap: str, *, seed: int) -> Iterator[Vanishing]:
    """Until the block ends, or `end` is called."""
    vanishing = Vanishing(bootstrap, seed=seed)
    vanishing.begin()
    try:
        yield vanishing
    finally:
        vanishing.end()


def _place_of(message: Any) -> Place:
    offset = message.offset()
    return Place(message.partition(), UNKNOWN_OFFSET if offset is None or offset < 0 else offset)
