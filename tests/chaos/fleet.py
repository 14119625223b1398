"""Idempotent producers that share many partitions among them, and a book of what each was told.

Owns: librdkafka's producers, when each partition was acknowledged. Does not own: the judgement
(tests/support/ledger.py), what happens meanwhile.
Rules: 1 a partition has one producer, always; 2 they are many, because one has five requests on their way and
each is of one partition: it would be measured instead of the platform.
"""

import time
from collections import Counter
from collections.abc import Collection
from typing import Any, NamedTuple

import confluent_kafka

from tests.support.ledger import UNKNOWN_OFFSET, Ledger, Place, Stamp

PRODUCERS = 16
_POLL_SECONDS = 0.005
_QUEUED_RECORDS_MAX = 1_000_000


class Part(NamedTuple):
    """A partition by its topic's name."""

    topic: str
    partition: int


class Fleet:
    """`send` never waits; acknowledgements are booked while `poll` or `wait_acknowledged` runs."""

    def __init__(self, bootstrap: str, **settings: int) -> None:
        """`settings` are librdkafka's, with underscores for dots."""
        client = {
            "log_level": 2,  # refused connections are expected
            **{name.replace("_", "."): value for name, value in settings.items()},
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "queue.buffering.max.messages": _QUEUED_RECORDS_MAX,
            "on_delivery": self._delivered,
        }
        self._producers = [confluent_kafka.Producer(client) for _ in range(PRODUCERS)]
        self._sent: Counter[Part] = Counter()
        self._sent_at: dict[tuple[Part, int], float] = {}
        self.ledgers: dict[str, Ledger] = {}
        self.acknowledged_at: dict[Part, float] = {}
        """When the last record of each was acknowledged, on the monotonic clock."""
        self.errors: list[str] = []
        """Deliveries that failed for good."""

    @property
    def in_flight(self) -> int:
        return len(self._sent_at)

    def send(self, parts: Collection[Part], *, each: int = 1) -> None:
        """Records of a few bytes, `each` to every partition."""
        for part in parts:
            producer = part.partition % PRODUCERS
            for _ in range(each):
                number = self._sent[part]
                self._sent[part] += 1
                self._sent_at[part, number] = time.monotonic()
                value = Stamp(f"producer-{producer}", number).value()
                self._producers[producer].produce(part.topic, value, partition=part.partition)

    def poll(self) -> None:
        """Books what was acknowledged until now."""
        for producer in self._producers:
            producer.poll(0)

    def wait_acknowledged(self, *, seconds_max: float) -> None:
        """Until all that was sent is. Raises TimeoutError."""
        deadline = time.monotonic() + seconds_max
        while self._sent_at:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.in_flight} records were not acknowledged; errors: {self.errors[:5]}"
                )
            self.poll()
            time.sleep(_POLL_SECONDS)

    def _delivered(self, error: Any, message: Any) -> None:
        part = Part(message.topic(), message.partition())
        stamp = Stamp.of(message.value())
        sent_at = self._sent_at.pop((part, stamp.number))
        if error is not None:
            self.errors.append(f"{part}: {error}")
            return
        offset = message.offset()
        place = Place(part.partition, UNKNOWN_OFFSET if offset is None else offset)
        self.ledgers.setdefault(part.topic, Ledger()).acknowledged(stamp, place)
        # The client's own measure: this callback runs when somebody polls.
        self.acknowledged_at[part] = sent_at + message.latency()
