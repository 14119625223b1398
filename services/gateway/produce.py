"""Produce: a request's batches checked, on their way, and the answer when all outcomes are known.

Owns: what a produce request may hold, the answer of each partition. Does not own: order and moves
(routing/appends.py), the batch format (libs/records), Kafka's messages (handlers/api_00_produce.py).
Rules: 1 errors are per partition, one bad batch stops nobody else's; 2 acks=0 answers nothing, acks=1 and
acks=-1 both wait until durable; 3 the request's bytes count as in flight until its last batch has an outcome.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from libs.clients.owner import Appended
from libs.model.cluster import Topic
from libs.model.errors import Invalid, KafscaleError, Reason
from libs.model.ids import TopicPartition
from libs.model.limits import RECORD_BATCH_BYTES_CEILING, RECORD_BATCH_BYTES_MAX
from libs.records import validate_records
from libs.telemetry.spans import span
from services.gateway.routing.appends import AppendRouter, NewAppend
from services.gateway.routing.given_up import ProducerSequence

ACKS_NONE: Final = 0
ACKS_LEADER: Final = 1
ACKS_ALL: Final = -1
_PATIENCE_SECONDS: Final = 30.0
"""How long acks=0 and acks=1 may take: in Kafka a request's timeout is about acks=all only."""

Outcome = Appended | KafscaleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one partition of a request holds: a checked batch, or why it can't be appended."""

    at: TopicPartition | None
    records: bytes
    producer_id: int
    sequence: ProducerSequence | None
    """None where there is no producer id."""
    error: KafscaleError | None


def check_records(at: TopicPartition, topic: Topic, records: bytes | None) -> Batch:
    """Checks one partition's records; never raises, errors are inside."""
    return check_batch(records, at=at, bytes_max=batch_bytes_max(topic))


def check_batch(
    records: bytes | None, *, at: TopicPartition | None = None, bytes_max: int = RECORD_BATCH_BYTES_CEILING
) -> Batch:
    """The same where the topic is unknown, and the batch goes nowhere."""
    try:
        batches = validate_records(records or b"", batch_bytes_max=bytes_max)
        if len(batches) != 1:
            raise Invalid(
                f"{len(batches)} record batches for one partition; one is allowed (KIP-98)",
                reason=Reason.INVALID_RECORD,
            )
    except Invalid as error:
        return failed_batch(error)
    batch = batches[0]
    sequence = ProducerSequence(batch.producer_epoch, batch.base_sequence) if batch.producer_id >= 0 else None
    return Batch(at=at, records=records or b"", producer_id=batch.producer_id, sequence=sequence, error=None)


def failed_batch(error: KafscaleError) -> Batch:
    return Batch(at=None, records=b"", producer_id=-1, sequence=None, error=error)


def batch_bytes_max(topic: Topic) -> int:
    """The topic's max.message.bytes."""
    setting = topic.configs.get("max.message.bytes", "")
    return min(int(setting), RECORD_BATCH_BYTES_CEILING) if setting.isdecimal() else RECORD_BATCH_BYTES_MAX


def produce_seconds(acks: int, timeout_ms: int, seconds_max: float) -> float:
    """How long a request's client waits for durability."""
    if acks != ACKS_ALL:
        return min(_PATIENCE_SECONDS, seconds_max)
    return min(max(timeout_ms, 0) / 1000, seconds_max)


class Appending:
    """The batches of one request on their way. `outcomes` is filled in place order."""

    def __init__(self, batches: Sequence[Batch], *, on_closed: Callable[[], None]) -> None:
        self.outcomes: list[Outcome | None] = [batch.error for batch in batches]
        self._unanswered = sum(1 for batch in batches if batch.error is None)
        self._open = self._unanswered
        self._on_closed = on_closed
        self._answered = trio.Event()
        if not self._open:
            self._answered.set()
            on_closed()

    async def wait(self) -> None:
        """Until every outcome is known, or time is over for those that are not."""
        await self._answered.wait()

    def settle(self, place: int, outcome: Outcome) -> None:
        self.outcomes[place] = outcome
        self._unanswered -= 1
        if not self._unanswered:
            self._answered.set()

    def close_one(self) -> None:
        self._open -= 1
        if not self._open:
            self._on_closed()


def start_appending(
    router: AppendRouter,
    batches: Sequence[Batch],
    *,
    connection: Hashable,
    seconds: float,
    on_closed: Callable[[], None],
) -> Appending:
    """Hands the good batches to the router, in order. Never waits."""
    appending = Appending(batches, on_closed=on_closed)
    deadline = trio.current_time() + seconds
    with span("gateway.route"):
        router.submit(
            [
                NewAppend(
                    at=batch.at,
                    source=batch.producer_id if batch.producer_id >= 0 else connection,
                    sequence=batch.sequence,
                    records=batch.records,
                    deadline=deadline,
                    on_settled=_settler(appending, place),
                    on_closed=appending.close_one,
                )
                for place, batch in enumerate(batches)
                if batch.at is not None
            ]
        )
    return appending


def _settler(appending: Appending, place: int) -> Callable[[Outcome], None]:
    return lambda outcome: appending.settle(place, outcome)
