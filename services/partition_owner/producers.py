"""What a partition knows of its idempotent producers (KIP-98): epochs and the last five batches of each.
Pure.

Owns: duplicate detection, order of sequences, producer epochs, expiry. Does not own: offsets, durability.
Rules: 1 the state is that of what was assembled, in flight included: a flush never fails, and when the
session is over all of it is dropped (design section 3, rule 5); 2 a batch that is known is answered with
its original offset, once that is durable; 3 the rules of order are those of Kafka's ProducerAppendInfo: a
producer that is not known may begin with any sequence, because its state may have expired; a new epoch
begins at 0; 4 the least recently seen producers go first, by age and beyond a count; 5 `now` is in seconds of
a clock that nobody sets: whoever was seen a moment ago stays known when the time of day jumps (promise 5).
"""

from collections.abc import Container, Iterable
from typing import NamedTuple

from libs.model.errors import Fenced, Invalid, Reason
from libs.model.limits import PRODUCER_BATCHES_KEPT
from libs.records import BatchView
from libs.segments.manifest import ProducerSnapshot
from libs.segments.wal import SEQUENCE_MODULUS, ProducerRun


class ProducerEntry(NamedTuple):
    """One producer: its epoch, its last batches (oldest first) and when it was last seen."""

    producer_epoch: int
    runs: tuple[ProducerRun, ...]
    seen: float


class ProducerStates:
    """The producers of one partition by id, the least recently seen first."""

    __slots__ = ("_count_max", "_entries", "_expiration_seconds")

    def __init__(self, *, expiration_seconds: float, count_max: int) -> None:
        self._expiration_seconds = expiration_seconds
        self._count_max = count_max
        self._entries: dict[int, ProducerEntry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, producer_id: int) -> ProducerEntry | None:
        return self._entries.get(producer_id)

    def check(self, batch: BatchView) -> ProducerRun | None:
        """The original where `batch` is a duplicate, None where it is the producer's next batch.

        Raises Invalid(OUT_OF_ORDER_SEQUENCE) and Fenced(INVALID_PRODUCER_EPOCH).
        """
        entry = self._entries.get(batch.producer_id)
        if entry is None:
            return None
        if batch.producer_epoch == entry.producer_epoch:
            base_sequence, last_sequence = batch.base_sequence, batch.last_sequence
            for run in entry.runs:
                if run.base_sequence == base_sequence and run.last_sequence == last_sequence:
                    return run
            expected = (entry.runs[-1].last_sequence + 1) % SEQUENCE_MODULUS if entry.runs else 0
            if base_sequence != expected:
                raise _out_of_order(batch, expected)
            return None
        if batch.producer_epoch < entry.producer_epoch:
            raise Fenced(
                f"producer {batch.producer_id} has epoch {entry.producer_epoch}"
                f" and not {batch.producer_epoch} any more",
                reason=Reason.INVALID_PRODUCER_EPOCH,
            )
        if batch.base_sequence != 0:
            raise _out_of_order(batch, 0)
        return None

    def add(self, batch: BatchView, *, base_offset: int, now: float) -> ProducerRun:
        """Remembers a batch that `check` let pass, with the offset that it was given."""
        run = ProducerRun(
            batch.producer_id,
            batch.producer_epoch,
            batch.base_sequence,
            batch.last_sequence,
            base_offset,
            batch.max_timestamp_ms,
        )
        self._remember(run, now)
        return run

    def restore(self, runs: Iterable[ProducerRun], *, now: float) -> None:
        """Remembers runs read from the chain, in the order of their offsets."""
        for run in runs:
            self._remember(run, now)

    def restore_snapshot(self, snapshots: Iterable[ProducerSnapshot], *, now: float) -> None:
        """Remembers what a manifest knows, before any run that was read from a chain.

        All count as seen now: their timestamps are the clients', and may be of any time.
        """
        for each in sorted(snapshots, key=_last_timestamp):
            self._entries[each.producer_id] = ProducerEntry(each.producer_epoch, each.runs, now)

    def items(self) -> Iterable[tuple[int, ProducerEntry]]:
        """Every producer by its id, the least recently seen first."""
        return self._entries.items()

    def ids(self) -> frozenset[int]:
        """All that are known."""
        return frozenset(self._entries)

    def keep(self, producer_ids: Container[int]) -> None:
        """Forgets all others."""
        self._entries = {each: entry for each, entry in self._entries.items() if each in producer_ids}

    def put_back(self, producer_id: int, entry: ProducerEntry | None) -> None:
        """Undoes what was added since `get` gave `entry`."""
        if entry is None:
            self._entries.pop(producer_id, None)
        else:
            self._entries[producer_id] = entry

    def expire(self, now: float) -> None:
        """Forgets who was not seen for the expiration time, and the oldest beyond the count."""
        oldest = now - self._expiration_seconds
        entries = self._entries
        while entries:
            producer_id = next(iter(entries))
            if entries[producer_id].seen > oldest and len(entries) <= self._count_max:
                return
            del entries[producer_id]

    def _remember(self, run: ProducerRun, now: float) -> None:
        # Taken out and put in again: the dict's order is then the order of last sight.
        entry = self._entries.pop(run.producer_id, None)
        if entry is None or entry.producer_epoch != run.producer_epoch:
            runs: tuple[ProducerRun, ...] = (run,)
        elif len(entry.runs) >= PRODUCER_BATCHES_KEPT:
            runs = (*entry.runs[1 - PRODUCER_BATCHES_KEPT :], run)
        else:
            runs = (*entry.runs, run)
        self._entries[run.producer_id] = ProducerEntry(run.producer_epoch, runs, now)


def trimmed(runs: list[ProducerRun]) -> tuple[ProducerRun, ...]:
    """The last five runs of each producer, oldest first: what a range's footer carries."""
    if len(runs) <= PRODUCER_BATCHES_KEPT:
        return tuple(runs)
    counts: dict[int, int] = {}
    kept: list[ProducerRun] = []
    for run in reversed(runs):
        count = counts.get(run.producer_id, 0)
        if count < PRODUCER_BATCHES_KEPT:
            counts[run.producer_id] = count + 1
            kept.append(run)
    kept.reverse()
    return tuple(kept)


def _last_timestamp(snapshot: ProducerSnapshot) -> int:
    return snapshot.last_timestamp_ms


def _out_of_order(batch: BatchView, expected: int) -> Invalid:
    return Invalid(
        f"producer {batch.producer_id} epoch {batch.producer_epoch} sends sequence {batch.base_sequence};"
        f" {expected} is next",
        reason=Reason.OUT_OF_ORDER_SEQUENCE,
    )
