"""The objects of a session's own chain that are on their way, and how far the chain is durable. Pure.

Owns: the order of acknowledgement, the window W, which footers the next index has. Does not own: PUTs.
Rules (design section 3): 1 `durable_seq` moves past object n only when 0..n all succeeded; 2 at most W
objects lie at or beyond the first that did not succeed: a sealer counts on it (rule 7); 3 an index has the
footers of 64 objects, once durable has passed them (rule 6).
"""

from collections import deque
from dataclasses import dataclass, field

from libs.model.ids import ChainSeq, TopicPartition
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.segments.wal import WalFooter
from services.partition_owner.assembler import Ack
from services.partition_owner.partition import Partition

_FIRST = ChainSeq(0)


@dataclass(slots=True, kw_only=True, eq=False)
class ChainObject:
    """One object from its assembly until it is durable."""

    seq: ChainSeq
    body: bytes
    footer: WalFooter
    ends: list[tuple[Partition, int]]
    acks: list[Ack]
    begun_at: float
    """Trio's clock when its first PUT began."""
    succeeded: bool = False


@dataclass(slots=True)
class Chain:
    """Grows by `begin`; `succeeded` gives what became durable, in order."""

    next_seq: ChainSeq = _FIRST
    durable_seq: ChainSeq = _FIRST
    """Everything below is durable."""
    _in_flight: deque[ChainObject] = field(default_factory=deque)
    _footers: list[WalFooter] = field(default_factory=list)

    @property
    def in_flight(self) -> int:
        """Objects at or beyond the first that did not succeed: what W bounds."""
        return len(self._in_flight)

    @property
    def oldest_begun_at(self) -> float | None:
        return self._in_flight[0].begun_at if self._in_flight else None

    def partitions(self) -> set[TopicPartition]:
        """Partitions with records in flight."""
        return {partition.tp for each in self._in_flight for partition, _ in each.ends}

    def begin(self, started: ChainObject) -> None:
        """The object at `next_seq` is on its way."""
        assert started.seq == self.next_seq
        self._in_flight.append(started)
        self.next_seq = ChainSeq(started.seq + 1)

    def attach(self, acks: list[Ack]) -> None:
        """To be answered once everything that is in flight now is durable."""
        self._in_flight[-1].acks.extend(acks)

    def succeeded(self, done: ChainObject) -> list[ChainObject]:
        """`done` is in the store; returns the objects that are durable by that, in order."""
        done.succeeded = True
        durable: list[ChainObject] = []
        while self._in_flight and self._in_flight[0].succeeded:
            durable.append(self._in_flight.popleft())
            self.durable_seq = ChainSeq(durable[-1].seq + 1)
        self._footers.extend(each.footer for each in durable)
        return durable

    def take_index(self) -> list[WalFooter] | None:
        """The footers of the next index, once there are enough of them."""
        if len(self._footers) < CHAIN_INDEX_EVERY:
            return None
        footers = self._footers[:CHAIN_INDEX_EVERY]
        del self._footers[:CHAIN_INDEX_EVERY]
        return footers

    def abandon(self) -> list[ChainObject]:
        """The session is over: what was in flight, oldest first; nobody knows what became of it."""
        lost = list(self._in_flight)
        self._in_flight.clear()
        return lost
