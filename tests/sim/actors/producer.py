"""Producers: Kafka's rules for sending again, as the Java client has them.

Owns: sequences, what is in flight, what a failure means. Does not own: connections (client.py).
Rules (org.apache.kafka.clients.producer.internals, TransactionManager and RecordAccumulator): 1 up to five
requests in flight; 2 a batch that may be sent again keeps its sequence, and while one is, nothing newer of
its partition is sent; 3 OUT_OF_ORDER_SEQUENCE_NUMBER is tried again unless the batch is the next one
expected: then, and after a batch was given up with its fate open, a new epoch begins at sequence 0 once
nothing is unfinished; 4 DUPLICATE_SEQUENCE_NUMBER is a success without an offset.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from kio.schema.errors import ErrorCode

from libs.model.cluster import Topic
from libs.model.ids import Partition, TopicPartition
from tests.sim.actors.client import Client
from tests.sim.actors.kafka import Gone, KafkaConnection, request, seconds
from tests.sim.events import ProduceAcked, ProduceFailed, ProduceSent, ProduceUnknown
from tests.sim.world.world import World
from tests.support.records import Record, encode_batch

IN_FLIGHT_MAX: Final = 5
DELIVERY_SECONDS_MAX: Final = 40.0
_TIMEOUT_SECONDS: Final = 6.0
_RESTART_RATES: Final = (0.0, 0.2)
"""Of the bursts, as a process that was restarted: a producer's first batches have to meet faults too."""
_BURST_MAX: Final = 12
"""Requests that are sent before all answers are waited for."""

UNKNOWN: Final = {
    ErrorCode.not_leader_or_follower,
    ErrorCode.request_timed_out,
    ErrorCode.kafka_storage_error,
    ErrorCode.unknown_server_error,
}
"""After these the batch may be stored."""
_RETRIED = UNKNOWN | {
    ErrorCode.not_enough_replicas,
    ErrorCode.unknown_topic_or_partition,
    ErrorCode.unknown_topic_id,
    ErrorCode.throttling_quota_exceeded,
}
_NO_TOPIC = {ErrorCode.unknown_topic_or_partition, ErrorCode.unknown_topic_id}
_BUMPED = {
    ErrorCode.out_of_order_sequence_number,
    ErrorCode.unknown_producer_id,
    ErrorCode.invalid_producer_epoch,
}


@dataclass(slots=True, kw_only=True, eq=False)
class _Batch:
    values: tuple[str, ...]
    first_sent: float
    epoch: int = -1
    sequence: int = -1
    attempts: int = 0
    call: int = -1


@dataclass(slots=True, kw_only=True, eq=False)
class _Lane:
    """A partition as a producer sees it."""

    tp: TopicPartition
    topic: Topic
    next_sequence: int = 0
    last_acked: int = -1
    again: list[_Batch] = field(default_factory=list)
    in_flight: list[_Batch] = field(default_factory=list)
    epoch: int = -1
    unresolved: bool = False
    """A batch was given up with its fate open, or refused although it was the next: a new epoch is due."""


class Producer(Client):
    """Sends to some partitions until the world is done. Not `idempotent`: a retry may be there twice."""

    def __init__(
        self,
        world: World,
        name: str,
        topic: Topic,
        partitions: list[int],
        *,
        idempotent: bool,
        acks: int = -1,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> None:
        super().__init__(world, name)
        self._idempotent = idempotent
        self._acks = acks
        self._in_flight_max = in_flight_max
        self._lanes = [
            _Lane(tp=TopicPartition(topic.topic_id, Partition(index)), topic=topic) for index in partitions
        ]
        self._requests: deque[list[tuple[_Lane, _Batch]]] = deque()
        self._number = 0
        self._burst = 0
        self._id = -1
        self._epoch = -1
        self.retired = False
        """Told to finish what is unfinished and send nothing new."""

    async def run(self) -> None:
        """Until the world is done, and what was sent has an outcome or was given up."""
        think = self.rand.choice(((0.0, 0.02), (0.0, 0.2), (0.1, 0.6)))
        restart_rate = self.rand.choice(_RESTART_RATES)
        while not self._is_finished():
            try:
                if not self._requests:  # what is answered has to be read: how long that took is judged
                    await self.world.breathe(self.rand)
                    self._burst = self.rand.integer(1, _BURST_MAX)
                    if self.rand.random() < restart_rate:
                        self._begin_anew()
                await self._step(think)
            except Gone as gone:
                self._lose(str(gone))
                await self.pause()
        self.disconnect()

    def _is_finished(self) -> bool:
        return (self.world.done or self.retired) and not any(
            lane.again or lane.in_flight for lane in self._lanes
        )

    def _begin_anew(self) -> None:
        """As a new process: another producer id, and what had no outcome never gets one."""
        self._id = -1
        for lane in self._lanes:
            lane.again.clear()
            lane.epoch, lane.unresolved = -1, False

    async def _step(self, think: tuple[float, float]) -> None:
        connection = await self.connection()
        if self._idempotent and self._id < 0:
            await self._new_id(connection)
            return
        self._expire()
        may_send = self._burst > 0 and len(self._requests) < self._in_flight_max
        parts = self._next_parts() if may_send else []
        if parts:
            self._burst -= 1
            await self._send(connection, parts)
        if self._requests and (
            not parts or len(self._requests) == self._in_flight_max or self.rand.random() < 0.3
        ):
            await self._receive(connection)
        else:
            await trio.sleep(self.rand.uniform(*think))

    async def _new_id(self, connection: KafkaConnection) -> None:
        values = {"transaction_timeout": seconds(0), "producer_id": -1, "producer_epoch": -1}
        answer = await connection.ask("init_producer_id", request("init_producer_id", **values))
        self.world.operation("init_producer_id")
        if answer.error_code is ErrorCode.none:
            self._id, self._epoch = answer.producer_id, answer.producer_epoch
        else:
            await self.pause()

    # What is sent next

    def _next_parts(self) -> list[tuple[_Lane, _Batch]]:
        found = []
        for lane in self._lanes:
            batch = self._next_of(lane)
            if batch is not None:
                found.append((lane, batch))
        return found

    def _next_of(self, lane: _Lane) -> _Batch | None:
        if lane.again:
            # Rule 2; without sequences there is nothing to wait for, and order is not promised.
            if self._idempotent and lane.in_flight:
                return None
            return lane.again.pop(0)
        if self._idempotent and not self._renew(lane):
            return None
        if self.world.done or self.retired or self.rand.random() < 0.2:
            return None
        count = self.rand.choice((1, 1, 2, 3))
        values = tuple(f"{self.name}.{self._number + index}" for index in range(count))
        self._number += count
        batch = _Batch(values=values, first_sent=trio.current_time())
        if self._idempotent:
            batch.epoch, batch.sequence = lane.epoch, lane.next_sequence
            lane.next_sequence += count
        return batch

    async def _send(self, connection: KafkaConnection, parts: list[tuple[_Lane, _Batch]]) -> None:
        encoded = []
        for lane, batch in parts:
            batch.attempts += 1
            data = self._encode(batch)
            lane.in_flight.append(batch)
            encoded.append((lane.tp, data))
            batch.call = self.world.history.add(
                self.name,
                ProduceSent(
                    tp=lane.tp,
                    topic=lane.topic.name,
                    values=batch.values,
                    timestamp_ms=self.world.clock.now_ms(),
                    size_bytes=len(data),
                    producer_id=self._id if self._idempotent else -1,
                    producer_epoch=batch.epoch,
                    base_sequence=batch.sequence,
                    acks=self._acks,
                ),
            )
        self._requests.append(parts)
        self.world.operation("produce")
        await connection.send("produce", produce_request(encoded, self._acks), answered=self._acks != 0)
        if self._acks == 0:
            for lane, batch in self._requests.pop():
                lane.in_flight.remove(batch)

    def _encode(self, batch: _Batch) -> bytes:
        now_ms = self.world.clock.now_ms()
        return encode_batch(
            [Record(None, value.encode(), now_ms) for value in batch.values],
            producer_id=self._id if self._idempotent else -1,
            producer_epoch=batch.epoch,
            base_sequence=batch.sequence,
        )

    # What became of it

    async def _receive(self, connection: KafkaConnection) -> None:
        answer = await connection.receive()
        parts = self._requests.popleft()
        told = {
            (topic.topic_id, part.index): part
            for topic in answer.responses
            for part in topic.partition_responses
        }
        failed = False
        for lane, batch in parts:
            lane.in_flight.remove(batch)
            failed |= self._settle(lane, batch, told[lane.tp.topic_id, lane.tp.partition])
        if failed:
            await self.pause()

    def _settle(self, lane: _Lane, batch: _Batch, part: Any) -> bool:
        """True where a pause is due before more is sent."""
        history, code = self.world.history, part.error_code
        if code in (ErrorCode.none, ErrorCode.duplicate_sequence_number):
            offset = part.base_offset if code is ErrorCode.none else -1
            history.add(self.name, ProduceAcked(call=batch.call, base_offset=offset))
            if batch.epoch == lane.epoch:
                lane.last_acked = max(lane.last_acked, batch.sequence + len(batch.values) - 1)
            return False
        name = code.name.upper()
        if code in UNKNOWN:
            history.add(self.name, ProduceUnknown(call=batch.call, error=name))
        else:
            history.add(self.name, ProduceFailed(call=batch.call, error=name))
        if self.retired and code in _NO_TOPIC:
            lane.unresolved = self._idempotent
        elif not self._idempotent:
            if code in _RETRIED:
                lane.again.append(batch)
        elif code in _BUMPED and batch.sequence == lane.last_acked + 1:
            lane.unresolved = (
                True  # Java sends it again under a new epoch; here it is given up, so that it is once
            )
        elif code in _RETRIED or code in _BUMPED:
            self._again(lane, batch)
        else:
            lane.unresolved = True
        return True

    def _lose(self, reason: str) -> None:
        """The connection is gone: nothing that was in flight will be answered."""
        self.disconnect()
        for parts in self._requests:
            for lane, batch in parts:
                self.world.history.add(self.name, ProduceUnknown(call=batch.call, error=reason))
                lane.in_flight.remove(batch)
                self._again(lane, batch)
        self._requests.clear()

    def _again(self, lane: _Lane, batch: _Batch) -> None:
        lane.again.append(batch)
        lane.again.sort(key=lambda each: (each.epoch, each.sequence))

    def _expire(self) -> None:
        """Gives up what was tried for too long (delivery.timeout.ms)."""
        before = trio.current_time() - DELIVERY_SECONDS_MAX
        for lane in self._lanes:
            late = [batch for batch in lane.again if batch.first_sent < before]
            if late:
                lane.again = [batch for batch in lane.again if batch.first_sent >= before]
                lane.unresolved = self._idempotent

    def _renew(self, lane: _Lane) -> bool:
        """Rule 3: whether the lane may take a new batch; it begins anew when nothing is unfinished."""
        if lane.unresolved:
            if lane.in_flight:
                return False
            lane.unresolved = False
            if lane.next_sequence != lane.last_acked + 1:
                self._epoch += 1
        if lane.epoch != self._epoch and not lane.in_flight:
            lane.epoch, lane.next_sequence, lane.last_acked = self._epoch, 0, -1
        return True


def produce_request(parts: list[tuple[TopicPartition, bytes]], acks: int) -> Any:
    """One batch for each of these partitions."""
    topics: dict[Any, list[dict[str, Any]]] = {}
    for tp, data in parts:
        topics.setdefault(tp.topic_id, []).append({"index": tp.partition, "records": data})
    return request(
        "produce",
        acks=acks,
        timeout=seconds(_TIMEOUT_SECONDS),
        topic_data=[{"topic_id": topic_id, "partition_data": each} for topic_id, each in topics.items()],
    )
