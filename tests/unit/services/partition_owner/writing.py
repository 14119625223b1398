"""A flusher with a partition and a store that obeys the test."""

from uuid import UUID

from trio.testing import wait_all_tasks_blocked

from libs.concurrency.clock import ManualClock
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Topic
from libs.model.errors import KafscaleError
from libs.model.ids import LeaderEpoch, OwnerId, Partition, SessionId, TopicId, TopicName, TopicPartition
from libs.objectstore.port import ObjectStore
from libs.records import split_batches
from services.partition_owner.flush_policy import FlushLimits, FlushPolicy, PutBudget
from services.partition_owner.flusher import Flusher
from services.partition_owner.log import PartitionLog
from services.partition_owner.partition import Partition as OwnedPartition
from services.partition_owner.producers import ProducerStates
from services.partition_owner.recorder import CountingRecorder
from services.partition_owner.tail_cache import TailCache
from services.partition_owner.waiting import PendingAppend
from tests.support.owners import batch
from tests.support.scripted_store import ScriptedStore

SESSION = SessionId(UUID(int=11))
TOPIC = Topic(name=TopicName("t"), topic_id=TopicId(UUID(int=5)), partitions=4)


def partition(index: int = 0, *, epoch: int = 3, next_offset: int = 0) -> OwnedPartition:
    return OwnedPartition(
        tp=TopicPartition(TOPIC.topic_id, Partition(index)),
        topic=TOPIC,
        session=SESSION,
        leader_epoch=LeaderEpoch(epoch),
        log=PartitionLog(log_start=0, next_offset=next_offset),
        producers=ProducerStates(expiration_seconds=1 << 40, count_max=1000),
    )


class Sink:
    """Collects outcomes by number of the append."""

    def __init__(self) -> None:
        self.outcomes: dict[int, int | KafscaleError] = {}
        self.order: list[int] = []

    def appended(self, append: PendingAppend, base_offset: int) -> None:
        self._add(append.index, base_offset)

    def failed(self, append: PendingAppend, error: KafscaleError) -> None:
        self._add(append.index, error)

    def _add(self, number: int, outcome: int | KafscaleError) -> None:
        assert number not in self.outcomes, "answered twice"
        self.outcomes[number] = outcome
        self.order.append(number)


def pending(of: OwnedPartition, sink: Sink, number: int, data: bytes) -> PendingAppend:
    return PendingAppend(
        partition=of,
        batches=split_batches(data),
        size_bytes=len(data),
        sink=sink,
        correlation_id=1,
        index=number,
        log_append_time_ms=-1,
    )


class Writing:
    """A flusher, one partition, and appends numbered from 0."""

    def __init__(self, store: ObjectStore | None = None, **limits: float) -> None:
        self.scripted = ScriptedStore()
        self.partition = partition()
        self.sink = Sink()
        self.recorder = CountingRecorder()
        self.clock = ManualClock(1000)
        self._number = 0
        budget = PutBudget(per_second=limits.get("puts_per_second", 1000), burst=1000)
        self.flusher = Flusher(
            session=SESSION,
            owner_id=OwnerId("a"),
            store=store or self.scripted,
            policy=FlushPolicy(
                FlushLimits(
                    alone_seconds=0.0,
                    linger_seconds=0.0,
                    age_seconds_max=0.25,
                    object_bytes_target=1 << 20,
                    in_flight_max=4,
                ),
                budget,
            ),
            tail=TailCache(1 << 30),
            clock=self.clock,
            rand=SeededRand("writing"),
            recorder=self.recorder,
        )

    def append(self, data: bytes | None = None, *, to: OwnedPartition | None = None) -> int:
        """Accepts an append; returns its number."""
        number = self._number
        self._number += 1
        data = batch(f"v{number}") if data is None else data
        self.flusher.accept(pending(to or self.partition, self.sink, number, data))
        return number

    async def append_alone(self, data: bytes | None = None) -> int:
        """An append that gets an object of its own."""
        before = self.flusher.next_seq
        number = self.append(data)
        await wait_all_tasks_blocked()
        assert self.flusher.next_seq == before + 1
        return number
