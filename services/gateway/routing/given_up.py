"""Which batch a producer has to send again before any later one may leave. Pure.

Owns: the first sequence given up of each idempotent producer of one partition, and when it is forgotten.
Does not own: what is given up (append_lane.py).

A client keeps several requests open. When the first is given up, the next may still be in its socket: sent
before the client heard of it, read after. The next owner might not know the producer, and then takes any
sequence for its first (as Kafka does): the batch that was given up would be OUT_OF_ORDER_SEQUENCE_NUMBER for
ever.
Rules: 1 later sequences of that producer epoch are held back until the one given up comes again; an older
epoch is held back too, a newer one begins anew; 2 nothing is remembered for longer than REMEMBERED_SECONDS,
nor of more than PRODUCERS_MAX producers: then the owner's check of sequences is all there is.
Of producers without an id nothing is remembered: nothing tells a batch that comes again from the next one,
and holding back either would lose order as often as keep it. Kafka keeps their order over a retry only with
one request in flight.
"""

from collections.abc import Hashable
from typing import Final, NamedTuple

from libs.records.layout import SEQUENCE_MODULUS

REMEMBERED_SECONDS: Final = 30.0
"""The default request.timeout.ms of Kafka's clients: whoever hears nothing for so long closes the connection,
and with it goes what was on its way. A client that never sends the batch again waits no longer than this."""
PRODUCERS_MAX: Final = 4096
"""Of one partition, each with an open batch at the time of one failure: about 1 MiB."""


class ProducerSequence(NamedTuple):
    """Where a batch stands among those of its producer (KIP-98)."""

    producer_epoch: int
    base_sequence: int


class _Entry(NamedTuple):
    first: ProducerSequence
    forget_at: float


class GivenUp:
    """The memory of one partition. `source` is the producer's id; time is Trio's, in seconds."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}
        """By the time of forgetting, the earliest first."""

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, source: Hashable, sequence: ProducerSequence | None, now: float) -> None:
        """A batch was given up; its client was told to send it again."""
        if sequence is None:
            return
        known = self._entries.pop(source, None)
        if known is not None and not _goes_before(sequence, known.first):
            sequence = known.first
        elif known is None and len(self._entries) >= PRODUCERS_MAX:
            del self._entries[next(iter(self._entries))]
        self._entries[source] = _Entry(sequence, now + REMEMBERED_SECONDS)

    def holds_back(self, source: Hashable, sequence: ProducerSequence | None, now: float) -> bool:
        """Whether a batch that came from a client must not leave yet."""
        known = self._entries.get(source)
        if known is None or sequence is None:
            return False
        began_anew = sequence.producer_epoch > known.first.producer_epoch
        if began_anew or sequence == known.first or known.forget_at <= now:
            del self._entries[source]
            return False
        return not _goes_before(sequence, known.first)

    def expire(self, now: float) -> None:
        while self._entries:
            source = next(iter(self._entries))
            if self._entries[source].forget_at > now:
                return
            del self._entries[source]


def _goes_before(one: ProducerSequence, other: ProducerSequence) -> bool:
    """Whether `one` has to be in the log before `other`, or makes it void; sequences wrap."""
    if one.producer_epoch != other.producer_epoch:
        return one.producer_epoch > other.producer_epoch
    distance = (other.base_sequence - one.base_sequence) % SEQUENCE_MODULUS
    return 0 < distance < SEQUENCE_MODULUS // 2
