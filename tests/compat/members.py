"""Members of a consumer group on threads, one interface over the clients, for tests of rebalances.

Owns: how each client polls, commits and leaves. Does not own: what is counted (progress.py) or asserted.
Rule: 1 a commit that a rebalance refused is no error: whoever has the partition then reads it again.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

import aiokafka
import aiokafka.coordinator.assignors.abstract
import aiokafka.errors
import confluent_kafka
import kafka
import kafka.coordinator.assignors.abstract
import kafka.errors

from tests.compat.progress import WAIT_SECONDS_MAX, Consumed, Position

POLL_SECONDS = 0.1
HEARTBEAT_MS = 200
"""A member hears of a rebalance with its next heartbeat; the defaults of 3 s only make tests slow."""


class GroupConsumer(Protocol):
    """What a member does with its client, from one thread."""

    def poll(self) -> Sequence[Position]: ...

    def commit(self) -> None:
        """What was polled; a refusal by a rebalance is silent."""
        ...

    def close(self) -> None:
        """Leaves the group."""
        ...


OpenConsumer = Callable[[str, str, str], GroupConsumer]
"""(bootstrap, group, topic)"""


class ConfluentConsumer:
    _REFUSED = frozenset(
        {
            confluent_kafka.KafkaError._NO_OFFSET,
            confluent_kafka.KafkaError.ILLEGAL_GENERATION,
            confluent_kafka.KafkaError.REBALANCE_IN_PROGRESS,
            confluent_kafka.KafkaError.UNKNOWN_MEMBER_ID,
        }
    )

    def __init__(self, bootstrap: str, group: str, topic: str, *, strategy: str = "range,roundrobin") -> None:
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "heartbeat.interval.ms": HEARTBEAT_MS,
                "partition.assignment.strategy": strategy,
            }
        )
        self._consumer.subscribe([topic])

    def poll(self) -> Sequence[Position]:
        found = []
        for message in self._consumer.consume(100, timeout=POLL_SECONDS):
            assert message.error() is None, message.error()
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            found.append((partition, offset))
        return found

    def commit(self) -> None:
        try:
            self._consumer.commit(asynchronous=False)
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() not in self._REFUSED:
                raise

    def close(self) -> None:
        self._consumer.close()


class _Assigned(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Collects what was newly assigned."""

    def __init__(self, assigned: set[kafka.TopicPartition]) -> None:
        self._assigned = assigned

    def on_partitions_revoked(self, revoked: set[kafka.TopicPartition]) -> None:
        self._assigned -= set(revoked)

    def on_partitions_assigned(self, assigned: set[kafka.TopicPartition]) -> None:
        self._assigned |= set(assigned)


class KafkaPythonConsumer:
    """Begins each assignment where the group committed, and commits what it polled last, no more.

    Version 3.0.12 does neither, which makes committed offsets go back with any broker: a JoinGroup that ends
    between two polls is thrown away and sent again, so that a member misses a generation in which others read
    on; and what is assigned to it before and after keeps its position, which a plain `commit` then stores.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topic: str,
        *,
        assignor: type[kafka.coordinator.assignors.abstract.AbstractPartitionAssignor] | None = None,
    ) -> None:
        chosen = {} if assignor is None else {"partition_assignment_strategy": [assignor]}
        self._polled: dict[kafka.TopicPartition, kafka.OffsetAndMetadata] = {}
        self._assigned: set[kafka.TopicPartition] = set()
        self._consumer = kafka.KafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            heartbeat_interval_ms=HEARTBEAT_MS,
            **chosen,
        )
        self._consumer.subscribe([topic], listener=_Assigned(self._assigned))

    def poll(self) -> Sequence[Position]:
        polled = self._consumer.poll(timeout_ms=int(POLL_SECONDS * 1000))
        for at in self._assigned:
            polled.pop(at, None)  # read again, from where the group is
        self._begin_where_the_group_is()
        self._polled = {
            at: kafka.OffsetAndMetadata(records[-1].offset + 1, "", -1) for at, records in polled.items()
        }
        return [(each.partition, each.offset) for records in polled.values() for each in records]

    def commit(self) -> None:
        if self._polled:
            with suppress(kafka.errors.CommitFailedError, kafka.errors.RebalanceInProgressError):
                self._consumer.commit(self._polled)

    def _begin_where_the_group_is(self) -> None:
        for at in tuple(self._assigned):
            committed = self._consumer.committed(at)
            if committed is None:
                self._consumer.seek_to_beginning(at)
            else:
                self._consumer.seek(at, committed)
            self._assigned.discard(at)

    def close(self) -> None:
        self._consumer.close()


class AiokafkaConsumer:
    """Its event loop runs while it is asked something, which is nearly always."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topic: str,
        *,
        assignor: type[aiokafka.coordinator.assignors.abstract.AbstractPartitionAssignor] | None = None,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        chosen = {} if assignor is None else {"partition_assignment_strategy": (assignor,)}

        async def start() -> aiokafka.AIOKafkaConsumer:
            consumer = aiokafka.AIOKafkaConsumer(
                topic,
                bootstrap_servers=bootstrap,
                group_id=group,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                heartbeat_interval_ms=HEARTBEAT_MS,
                **chosen,
            )
            await consumer.start()
            return consumer

        self._consumer = self._loop.run_until_complete(start())

    def poll(self) -> Sequence[Position]:
        polled = self._loop.run_until_complete(self._consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000)))
        return [(each.partition, each.offset) for records in polled.values() for each in records]

    def commit(self) -> None:
        with suppress(aiokafka.errors.CommitFailedError, aiokafka.errors.IllegalStateError):
            self._loop.run_until_complete(self._consumer.commit())

    def close(self) -> None:
        self._loop.run_until_complete(self._consumer.stop())
        self._loop.close()


class Member:
    """One consumer on a thread of its own until `close`, which tells what went wrong there."""

    def __init__(self, name: str, open_consumer: Callable[[], GroupConsumer], consumed: Consumed) -> None:
        self.name = name
        self._open_consumer = open_consumer
        self._consumed = consumed
        self._closing = threading.Event()
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leaves the group."""
        self._closing.set()
        self._thread.join(WAIT_SECONDS_MAX)
        assert not self._thread.is_alive(), f"{self.name} does not close"
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            consumer = self._open_consumer()
            try:
                while not self._closing.is_set():
                    polled = consumer.poll()
                    if polled:
                        self._consumed.add(self.name, polled)
                        consumer.commit()
                consumer.commit()
            finally:
                consumer.close()
        except BaseException as error:
            self._errors.append(error)
