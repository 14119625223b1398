"""One stream of appends: takes requests in order, answers as outcomes are known.

Owns: refusals and their memory, back-pressure, the answers on their way out. Does not own: offsets,
durability.
Rules: 1 requests are taken in order, one after the other; a full budget of unflushed bytes stops the
reading; 2 once a partition was refused (Moved), every later append for it in this stream is refused, until
one says `resume`: a later batch can't overtake a held one (design section 3, rule 12); 3 answers that
nobody reads stop the reading as well.
"""

from collections.abc import Sequence
from typing import NamedTuple

from libs.concurrency.byte_budget import ByteBudget
from libs.concurrency.clock import Clock
from libs.model.errors import Invalid, KafscaleError, Moved, Overloaded, Reason
from libs.model.ids import NO_TIMESTAMP_MS, TopicPartition
from libs.model.limits import CHAIN_OBJECT_BYTES_MAX
from libs.records import BatchView, split_batches, with_log_append_time
from libs.telemetry.spans import span
from services.partition_owner.partition import Partition
from services.partition_owner.recorder import Recorder
from services.partition_owner.registry import Registry, moved
from services.partition_owner.waiting import PendingAppend
from services.partition_owner.wake import Wake

APPEND_BYTES_MAX = CHAIN_OBJECT_BYTES_MAX * 3 // 4  # with footers and another append it still fits an object
BATCHES_MAX = 1024
ANSWERS_MAX = 16 * 1024
REFUSED_MAX = 100_000


class AppendPart(NamedTuple):
    """What a request appends to one partition."""

    tp: TopicPartition
    leader_epoch: int
    records: bytes
    resume: bool


class Answer(NamedTuple):
    """What became of one part. `part` is its index in the request."""

    correlation_id: int
    part: int
    error: KafscaleError | None
    base_offset: int
    log_append_time_ms: int
    log_start_offset: int


class AppendStream:
    """An AppendSink: hears outcomes synchronously, keeps them until `wait_answers` takes them."""

    def __init__(self, *, registry: Registry, budget: ByteBudget, clock: Clock, recorder: Recorder) -> None:
        self._registry = registry
        self._budget = budget
        self._clock = clock
        self._recorder = recorder
        self._refused: set[TopicPartition] = set()
        self._answers: list[Answer] = []
        self._answered = Wake()
        self._drained = Wake()
        self._open_parts = 0
        self._closed = False

    async def take(self, correlation_id: int, parts: Sequence[AppendPart]) -> None:
        """Takes one request, waiting while the budget is full. Raises Overloaded beyond REFUSED_MAX."""
        if len(self._refused) > REFUSED_MAX:
            raise Overloaded(f"this stream was refused for more than {REFUSED_MAX} partitions; open another")
        self._open_parts += len(parts)
        with span("owner.append"):
            for index, part in enumerate(parts):
                await self._take_part(correlation_id, index, part)
        while len(self._answers) >= ANSWERS_MAX:
            await self._drained.wait()

    async def wait_answers(self) -> list[Answer]:
        """Answers in the order in which the outcomes became known; at least one."""
        while not self._answers:
            await self._answered.wait()
        answers, self._answers = self._answers, []
        self._drained.set()
        return answers

    @property
    def finished(self) -> bool:
        """Whether everything that was taken has been answered, and the answers taken."""
        return not self._open_parts and not self._answers

    async def wait_finished(self) -> None:
        while not self.finished:
            await self._drained.wait()

    def close(self) -> None:
        """Nobody hears the answers any more; what was taken still becomes durable."""
        self._closed = True
        self._answers.clear()

    # AppendSink

    def appended(self, append: PendingAppend, base_offset: int) -> None:
        self._budget.give_back(append.size_bytes)
        self._answer(
            Answer(
                append.correlation_id,
                append.index,
                None,
                base_offset,
                append.log_append_time_ms,
                append.partition.log.log_start,
            )
        )

    def failed(self, append: PendingAppend, error: KafscaleError) -> None:
        self._budget.give_back(append.size_bytes)
        self._fail(append.correlation_id, append.index, append.partition.tp, error)

    async def _take_part(self, correlation_id: int, index: int, part: AppendPart) -> None:
        tp = part.tp
        if part.resume:
            self._refused.discard(tp)
        partition = self._registry.find(tp)
        if partition is None or not self._may_append(partition, part):
            self._fail(correlation_id, index, tp, moved(tp))
            return
        try:
            batches = _batches_of(part.records)
        except Invalid as error:
            self._fail(correlation_id, index, tp, error)
            return
        size_bytes = len(part.records)
        await self._budget.take(size_bytes)
        flusher = self._registry.flusher
        if flusher is None or not self._may_append(partition, part):
            self._budget.give_back(size_bytes)
            self._fail(correlation_id, index, tp, moved(tp))
            return
        log_append_time_ms = NO_TIMESTAMP_MS
        if partition.log_append_time:
            log_append_time_ms = self._clock.now_ms()
            batches = tuple(with_log_append_time(batch, log_append_time_ms) for batch in batches)
        flusher.accept(
            PendingAppend(
                partition=partition,
                batches=batches,
                size_bytes=size_bytes,
                sink=self,
                correlation_id=correlation_id,
                index=index,
                log_append_time_ms=log_append_time_ms,
            )
        )

    def _may_append(self, partition: Partition, part: AppendPart) -> bool:
        return (
            partition.appendable
            and partition.leader_epoch == part.leader_epoch
            and part.tp not in self._refused
        )

    def _fail(self, correlation_id: int, index: int, tp: TopicPartition, error: KafscaleError) -> None:
        if isinstance(error, Moved):
            self._refused.add(tp)
        self._answer(Answer(correlation_id, index, error, -1, NO_TIMESTAMP_MS, -1))

    def _answer(self, answer: Answer) -> None:
        self._open_parts -= 1
        self._recorder.append_answered()
        if not self._closed:
            self._answers.append(answer)
            self._answered.set()


def _batches_of(records: bytes) -> tuple[BatchView, ...]:
    """The batches, validated by the gateway. Raises Invalid for what can't be stored."""
    if len(records) > APPEND_BYTES_MAX:
        raise Invalid(
            f"an append of {len(records)} bytes is larger than {APPEND_BYTES_MAX}",
            reason=Reason.MESSAGE_TOO_LARGE,
        )
    batches = split_batches(records)
    if not batches:
        raise Invalid("an append has no record batch", reason=Reason.INVALID_RECORD)
    if len(batches) > BATCHES_MAX:
        raise Invalid(f"an append has {len(batches)} batches; {BATCHES_MAX} at most")
    return batches
