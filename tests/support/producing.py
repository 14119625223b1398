"""Idempotent producers that follow a partition from owner to owner, and the check of what they were told.

Owns: retries as a Kafka client makes them (everything not acknowledged, in order), the history. Does not own:
owners.
"""

from dataclasses import dataclass, field

import trio

from libs.clients.owner import Appended
from libs.model.errors import KafscaleError, Moved
from libs.model.ids import TopicPartition
from libs.records import iter_batches
from tests.support.owners import OwnerCluster, RunningOwner, batch, fetch, part
from tests.support.records import decode_batch

IN_FLIGHT_MAX = 5


@dataclass(slots=True)
class History:
    """What was acknowledged: value -> offset, for one partition."""

    acked: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    """How often a producer was told that nobody knows."""


class Producer:
    """Sends `count` batches of one record with up to five in flight."""

    def __init__(self, cluster: OwnerCluster, tp: TopicPartition, producer_id: int, history: History) -> None:
        self._cluster = cluster
        self._tp = tp
        self._producer_id = producer_id
        self._history = history

    async def run(self, count: int, pause_seconds: float = 0.0) -> None:
        sequence = 0
        while sequence < count:
            owner, epoch = await self._cluster.wait_open(self._tp)
            sequence = await self._send(owner, epoch, sequence, count, pause_seconds)

    async def _send(
        self, owner: RunningOwner, epoch: int, sequence: int, count: int, pause_seconds: float
    ) -> int:
        """Sends until something fails; returns the first sequence that was not acknowledged."""
        appends = await self._cluster.appends(owner)
        waiting: list[tuple[int, tuple[int, int]]] = []
        following = sequence
        while waiting or following < count:
            while following < count and len(waiting) < IN_FLIGHT_MAX:
                data = batch(self._value(following), producer=(self._producer_id, 0, following))
                waiting.append((following, appends.send(self._tp, epoch, data)))
                following += 1
            sent, key = waiting.pop(0)
            outcome = await appends.outcome(key)
            if not isinstance(outcome, Appended):
                self._history.unknown += not isinstance(outcome, Moved)
                for _, other in waiting:  # none of them may be resent while its fate is open
                    await appends.outcome(other)
                await trio.sleep(0.1)
                return sent
            self._history.acked[self._value(sent)] = outcome.base_offset
            await trio.sleep(pause_seconds)
        return count

    def _value(self, sequence: int) -> str:
        return f"{self._producer_id}:{sequence}"


async def read_all(owner: RunningOwner, tp: TopicPartition) -> list[str]:
    """Every value of the partition in offset order; offsets are checked to be contiguous."""
    values: list[str] = []
    while True:
        (found,) = await fetch(owner, part(tp, len(values)), max_wait_ms=0)
        if found.error is not None:
            raise found.error
        if not found.records:
            assert found.high_watermark == len(values)
            return values
        for each in iter_batches(found.records):
            for offset, record in decode_batch(each.data):
                if offset >= len(values):
                    assert offset == len(values), "a hole"
                    values.append((record.value or b"").decode())


def check(history: History, values: list[str], *, complete: int | None = None) -> None:
    """Promises 1 to 3 of the design: nothing acknowledged is lost or moved, each once, in order."""
    for value, offset in history.acked.items():
        assert values[offset] == value, f"{value} was acknowledged at {offset}, there is {values[offset]}"
    assert len(set(values)) == len(values), "something is there twice"
    last: dict[str, int] = {}
    for value in values:
        producer, _, sequence = value.partition(":")
        assert int(sequence) == last.get(producer, -1) + 1, f"{value} is out of order"
        last[producer] = int(sequence)
    if complete is not None:
        assert len(history.acked) == complete


async def wait_readable(cluster: OwnerCluster, tp: TopicPartition) -> list[str]:
    """`read_all` from whoever serves the partition, as often as it takes."""
    with trio.fail_after(600):
        while True:
            owner, _ = await cluster.wait_open(tp)
            try:
                return await read_all(owner, tp)
            except KafscaleError:
                await trio.sleep(0.2)
