"""References to the own chain that are on their way into the metadata store.

Owns: from where on each partition that this session opens may need the chain. Does not own: opening, and the
question whether a transaction has landed.
Rules: 1 noted before the opening chooses its first object, kept until a linearizable read proves that its
transaction is in the state or can't get there any more (decide.settled): a reply that was lost, or an opening
that was given up, proves nothing; 2 until a transaction was sent nothing can land: each attempt counts from
where it begins, so that a partition that can't be opened (damaged, say) does not hold the chain for ever.
"""

from collections.abc import Callable, Iterable, Mapping

from libs.model.ids import ChainSeq, LeaderEpoch, TopicPartition
from services.partition_owner.collection.decide import OpeningKey


class Openings:
    """Of one session. `next_seq`: of its chain, now."""

    def __init__(self, next_seq: Callable[[], ChainSeq]) -> None:
        self._next_seq = next_seq
        self._from: dict[OpeningKey, ChainSeq] = {}
        self._sent: set[OpeningKey] = set()

    def begin(self, tp: TopicPartition, leader_epoch: LeaderEpoch) -> None:
        """The partition may be opened from now on, at the chain's next object or behind it."""
        self._from.setdefault((tp, leader_epoch), self._next_seq())

    def begin_attempt(self, tp: TopicPartition, leader_epoch: LeaderEpoch) -> None:
        """What an earlier attempt chose counts only where its transaction was sent."""
        key = (tp, leader_epoch)
        if key in self._from and key not in self._sent:
            self._from[key] = self._next_seq()

    def sending(self, tp: TopicPartition, leader_epoch: LeaderEpoch) -> None:
        """A transaction goes out now: it may land at any time."""
        self._sent.add((tp, leader_epoch))

    def pending(self) -> Mapping[OpeningKey, ChainSeq]:
        """As of now; a copy."""
        return dict(self._from)

    def settle(self, keys: Iterable[OpeningKey]) -> None:
        for key in keys:
            self._from.pop(key, None)
            self._sent.discard(key)
