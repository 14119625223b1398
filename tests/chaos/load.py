"""A steady produce load, whose acknowledgements are booked, and a consumer group that reads along.

Owns: librdkafka and Java producers, the group, when each partition was acknowledged. Does not own: the
judgement (tests/support/ledger.py), the stack.
Rules: 1 every producer is idempotent and sends to every partition, so through both gateways; 2 it goes on at
its pace while the platform is in trouble; 3 an error that an application would see is kept, never swallowed.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import confluent_kafka

from tests.chaos.history import Ack, History, Poll
from tests.support.ledger import UNKNOWN_OFFSET, Ledger, Place, Stamp

PARTITIONS = 8
PRODUCERS = 2
ROUND_SECONDS = 0.04
"""Each producer sends a record to every partition in this time: 400 records a second together."""
CLOSE_SECONDS_MAX = 60.0
GROUP_MEMBERS = 2

CLIENT = {
    "log_level": 2,  # refused connections are what this load is for
    "metadata.max.age.ms": 5000,
}


_NO_STARTS: Mapping[int, int] = MappingProxyType({})
_GROUP_WAITS = {
    confluent_kafka.KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    confluent_kafka.KafkaError.COORDINATOR_NOT_AVAILABLE,
    confluent_kafka.KafkaError.NOT_COORDINATOR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The longest time between two acknowledgements of a partition, in seconds."""

    partition: int
    seconds: float
    began_at: float


class AckTimes:
    """When records of each partition were acknowledged, on the monotonic clock."""

    def __init__(self) -> None:
        self._times: list[list[float]] = [[] for _ in range(PARTITIONS)]

    def acknowledged(self, partition: int, at: float) -> None:
        self._times[partition].append(at)

    def last(self, partition: int) -> float:
        times = self._times[partition]
        return times[-1] if times else float("-inf")

    def pauses(self, since: float) -> list[Pause]:
        """One for each partition, of the time from `since` to now; a pause that has not ended counts."""
        return [self._pause(partition, since, time.monotonic()) for partition in range(PARTITIONS)]

    def _pause(self, partition: int, since: float, now: float) -> Pause:
        # Before `since` only the last one counts. Producers' threads take turns: nearly sorted is not sorted.
        times = sorted([*self._times[partition], now])
        first = next(index for index, at in enumerate(times) if at >= since)
        window = times[max(0, first - 1) :]
        gaps = [(after - before, before) for before, after in itertools.pairwise(window)]
        seconds, began_at = max(gaps, default=(0.0, since))
        return Pause(partition=partition, seconds=seconds, began_at=began_at)


@dataclass(slots=True)
class MemberNotes:
    """Of one member of the group, for whoever must find out why it stands still."""

    assigned: tuple[int, ...] = ()
    assignments: int = 0
    polled_at: float | None = None
    """When poll returned last, with or without a record; monotonic, as the others."""
    record_at: float | None = None
    told: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    """The last that its client told: errors, also those that it gets over, and refused commits."""

    def __str__(self) -> str:
        return (
            f"partitions {self.assigned} since {self.assignments} assignments, poll returned "
            f"{_ago(self.polled_at)}, the last record {_ago(self.record_at)}, told {list(self.told)}"
        )


def _ago(moment: float | None) -> str:
    return "never" if moment is None else f"{time.monotonic() - moment:.1f} s ago"


class Load:
    """What goes on in the background; made by `running_load`."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self.ledger = Ledger()
        self.times = AckTimes()
        self.errors: list[str] = []
        """What an application would have seen: failed deliveries, fatal errors."""
        self.history = History()
        self.members: dict[str, MemberNotes] = {}
        self._lock = threading.Lock()
        self._end_producing = ExitStack()

    def end_producing(self) -> None:
        """Now instead of at the end of the block: so that readers can catch up."""
        self._end_producing.close()

    def behind(self, ends: dict[int, int]) -> dict[int, int]:
        """Partitions of which the group has not read up to `ends`, and how far it came."""
        seen = dict.fromkeys(ends, 0)
        for poll in list(self.history.polls):
            seen[poll.place.partition] = max(seen[poll.place.partition], poll.place.offset + 1)
        return {partition: far for partition, far in seen.items() if far < ends[partition]}

    def wait_read(self, ends: dict[int, int], *, seconds_max: float) -> None:
        """Until the group has read up to `ends`; the TimeoutError tells what is missing, and why."""
        try:
            wait_until(lambda: not self.behind(ends), seconds_max=seconds_max)
        except TimeoutError as error:
            behind = {each: (far, ends[each]) for each, far in sorted(self.behind(ends).items())}
            members = "\n".join(f"{name}: {notes}" for name, notes in sorted(self.members.items()))
            raise TimeoutError(
                f"{error}: (read up to, of) by partition {behind}\n{members}\nerrors: {self.errors}"
            ) from error

    def wait_all_acknowledged_after(self, moment: float, *, seconds_max: float) -> None:
        """Until a record of each partition was acknowledged after `moment` (monotonic)."""
        wait_until(
            lambda: all(self.times.last(partition) > moment for partition in range(PARTITIONS)),
            seconds_max=seconds_max,
        )

    @property
    def group_reads(self) -> list[tuple[Place, Stamp]]:
        """What the group's members were given, in the order in which they tell."""
        return [(poll.place, poll.stamp) for poll in list(self.history.polls)]

    def booked(self, stamp: Stamp, place: Place, latency_seconds: float = -1.0) -> None:
        now = time.monotonic()
        with self._lock:
            self.ledger.acknowledged(stamp, place)
            self.history.acks.append(Ack(now, stamp, place, latency_seconds))
            self.times.acknowledged(place.partition, now)

    # The threads.

    def produce(self, name: str, stop: threading.Event) -> None:
        """librdkafka's idempotent producer, otherwise at its defaults."""
        numbers = [0] * PARTITIONS

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self.errors.append(f"{name}: a delivery failed: {error}")
                return
            place, stamp = _placed(message)
            self.booked(stamp, place, message.latency())

        producer = confluent_kafka.Producer(
            {
                **CLIENT,
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                "error_cb": self._client_error(name),
                "on_delivery": delivered,
            }
        )
        self.history.producers.add(name)
        due = time.monotonic()
        while not stop.is_set():
            for partition in range(PARTITIONS):
                self.history.sent[name, partition] = numbers[partition]
                producer.produce(self.topic, Stamp(name, numbers[partition]).value(), partition=partition)
                numbers[partition] += 1
            due += ROUND_SECONDS
            producer.poll(max(0.0, due - time.monotonic()))
            while (left := due - time.monotonic()) > 0:
                producer.poll(left)
        left_over = producer.flush(CLOSE_SECONDS_MAX)
        if left_over:
            self.errors.append(f"{name}: {left_over} records were not acknowledged at the end")

    def consume(self, name: str, group: str, stop: threading.Event) -> None:
        """A member of a group at librdkafka's defaults, which commits by itself."""
        notes = self.members[name] = MemberNotes()
        seen = self._client_error(name)

        def told(error: Any) -> None:
            notes.told.append(f"{time.monotonic():.1f}: {error}")
            seen(error)

        def committed(error: Any, _partitions: Any) -> None:
            if error is not None:
                notes.told.append(f"{time.monotonic():.1f}: a commit failed: {error}")

        consumer = confluent_kafka.Consumer(
            {
                **CLIENT,
                "bootstrap.servers": self.bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "error_cb": told,
                "on_commit": committed,
            }
        )

        def assigned(_consumer: Any, partitions: Any) -> None:
            notes.assignments += 1
            notes.assigned = tuple(sorted(each.partition for each in partitions))

        consumer.subscribe([self.topic], on_assign=assigned)
        try:
            while not stop.is_set():
                # One by one: a batch may hold records of the assignment before the one that it ends with.
                message = consumer.poll(0.2)
                notes.polled_at = time.monotonic()
                if message is None:
                    continue
                if message.error() is not None:
                    told(message.error())
                    continue
                notes.record_at = notes.polled_at
                place, stamp = _placed(message)
                self.history.polls.append(Poll(notes.record_at, name, notes.assignments, place, stamp))
        finally:
            consumer.close()

    def _client_error(self, name: str) -> Callable[[Any], None]:
        def seen(error: Any) -> None:
            # "Brokers are down" and the like say that the client tries again; it tells what is final. That a
            # group's changes wait is told to consumers by codes that are retriable in Kafka's protocol.
            is_retried = error.retriable() or error.code() < 0 or error.code() in _GROUP_WAITS
            if error.fatal() or not is_retried:
                self.errors.append(f"{name}: {error}")

        return seen


@contextmanager
def running_load(bootstrap: str, topic: str, *, group: str) -> Iterator[Load]:
    """The load, until the block ends; then everything was acknowledged, or `errors` tells."""
    load = Load(bootstrap, topic)
    stop_producers, stop_consumers = threading.Event(), threading.Event()
    with ExitStack() as threads:
        for number in range(GROUP_MEMBERS):
            consume = partial(load.consume, f"member-{number}", group, stop_consumers)
            threads.enter_context(_thread(load, stop_consumers, consume))
        threads.enter_context(load._end_producing)
        for number in range(PRODUCERS):
            produce = partial(load.produce, f"rdkafka-{number}", stop_producers)
            load._end_producing.enter_context(_thread(load, stop_producers, produce))
        yield load


@contextmanager
def _thread(load: Load, stop: threading.Event, run: Callable[[], None]) -> Iterator[None]:
    def guarded() -> None:
        try:
            run()
        except Exception as error:  # a thread's error comes out in the test
            load.errors.append(repr(error))

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(2 * CLOSE_SECONDS_MAX)
        if thread.is_alive():
            load.errors.append("a client did not close")


def wait_until(condition: Callable[[], bool], *, seconds_max: float, every_seconds: float = 0.01) -> None:
    """Polls; raises TimeoutError."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen within {seconds_max} s")
        time.sleep(every_seconds)


class Truth:
    """What is in the topic, read bit by bit from the first record on, or from `starts`."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        partitions: int = PARTITIONS,
        starts: Mapping[int, int] = _NO_STARTS,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self.found: dict[Place, Stamp] = {}
        self._next = {partition: starts.get(partition, 0) for partition in range(partitions)}

    def read_on(self, ends: dict[int, int], *, seconds_max: float) -> None:
        """Reads at least up to `ends`, or as far as it comes in the time."""
        left = {partition for partition, end in ends.items() if self._next[partition] < end}
        if not left:
            return
        consumer = confluent_kafka.Consumer(
            {
                **CLIENT,
                "bootstrap.servers": self._bootstrap,
                "group.id": f"{self._topic}-judge",
                "enable.auto.commit": False,
            }
        )
        deadline = time.monotonic() + seconds_max
        try:
            consumer.assign(
                [
                    confluent_kafka.TopicPartition(self._topic, partition, self._next[partition])
                    for partition in left
                ]
            )
            while left and time.monotonic() < deadline:
                for message in consumer.consume(2000, timeout=0.05):
                    if message.error() is None:  # else it tries again, until the deadline
                        self._take(message)
                left = {partition for partition in left if self._next[partition] < ends[partition]}
        finally:
            consumer.close()

    def _take(self, message: Any) -> None:
        place, stamp = _placed(message)
        if self.found.setdefault(place, stamp) != stamp:
            raise AssertionError(f"{place} was read as {self.found[place]} and as {stamp}")
        self._next[place.partition] = place.offset + 1


def _placed(message: Any) -> tuple[Place, Stamp]:
    offset = message.offset()
    place = Place(message.partition(), UNKNOWN_OFFSET if offset is None else offset)
    return place, Stamp.of(message.value())
