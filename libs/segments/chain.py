"""Ending a chain: which seals to write next, and where the chain ends.

Owns: the decisions of a sealer (design section 3, rules 7 and 8) and of a writer who met a taken key (rule
5). Does not own: reads, writes and lists (the partition owner does what the plan says and tells it what came
of it).

Rules:
1 The chain ends at the smallest seq that holds a seal and has everything between the chain's start and it.
2 A seal goes to the first missing place and to the `window` places after it: a writer has at most `window`
  objects in flight, so one of these seals stops it, unless it moved on while they were being written.
3 After two lost rounds one more seal goes far ahead, at tail + 64 * 2^k, where a live writer must stop.
4 A collected prefix looks like a free place. So after a seal was written or found, the markers are listed; a
  seal below the greatest is void, and the search starts over from there.

Why it is safe: places are written once and for ever, so a seal with everything before it can't lose that,
but by collection; collection never goes beyond the end, and a marker is there before anything below it goes.
So two sealers who both finish name the same end, and a writer acknowledges only what has data in every place
before it: nothing at or beyond a seal.

The plan is an immutable value: each event gives a new one, so that a model checker can explore all orders.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from libs.model.ids import ChainSeq
from libs.model.limits import CHAIN_IN_FLIGHT_MAX
from libs.segments.seal import Seal
from libs.segments.wal import WalFooter

READ_AHEAD_MAX = 64
FAR_AHEAD = 64
LOST_ROUNDS_NEAR = 2
_FAR_DOUBLINGS_MAX = 32


class Slot(StrEnum):
    """What a place in a chain was seen to hold. MISSING may be over as soon as it was seen."""

    DATA = "data"
    SEAL = "seal"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class ReadSlots:
    """Read these places, in any order or all at once; tell `saw` for each."""

    seqs: tuple[ChainSeq, ...]


@dataclass(frozen=True, slots=True)
class PutSeals:
    """Put a seal at each of these places if it is free, in any order or all at once; tell `put` for each."""

    seqs: tuple[ChainSeq, ...]


@dataclass(frozen=True, slots=True)
class ListMarkers:
    """List the chain's start markers, beginning now; tell `listed` the greatest (0 without any)."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The chain is [start, end): its data, for ever, but for what collection takes from its front.

    `start` is the greatest marker at the time, or where the search began.
    """

    start: ChainSeq
    end: ChainSeq


Action: TypeAlias = ReadSlots | PutSeals | ListMarkers | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class SealPlan:
    """What one sealer knows of a chain, and what it does next.

    Drive it so: ask `next_action`, do it, tell every result, ask again; events for more than was asked are
    welcome. Results may be told in any order, and `next_action` may be asked between them.

    start: everything in [start, tail) was seen to be data. window: W of the chain's writer.
    seen: places from tail on of which something is known. to_seal: what is left to do of this round.
    """

    start: ChainSeq
    tail: ChainSeq
    window: int = CHAIN_IN_FLIGHT_MAX
    read_ahead: int = CHAIN_IN_FLIGHT_MAX * 2
    seen: tuple[tuple[ChainSeq, Slot], ...] = ()
    to_seal: tuple[ChainSeq, ...] = ()
    rounds: int = 0
    confirmed: bool = False

    @staticmethod
    def begin(
        start: ChainSeq, *, window: int = CHAIN_IN_FLIGHT_MAX, read_ahead: int = CHAIN_IN_FLIGHT_MAX * 2
    ) -> "SealPlan":
        """A sealer who knows that the chain reaches `start`: 0, a marker, or the end of an index object."""
        return SealPlan(start=start, tail=start, window=window, read_ahead=read_ahead)

    def next_action(self) -> Action:
        """What to do now."""
        if self.to_seal:
            return PutSeals(self.to_seal)
        seen = dict(self.seen)
        if seen.get(self.tail) is Slot.SEAL:
            return Ended(self.start, self.tail) if self.confirmed else ListMarkers()
        # The farther the search has come, the more it reads at once: few round trips for any length.
        width = min(max(self.read_ahead, self.tail - self.start), READ_AHEAD_MAX)
        ahead = range(self.tail, self.tail + width)
        return ReadSlots(tuple(ChainSeq(seq) for seq in ahead if seq not in seen))

    def saw(self, seq: ChainSeq, slot: Slot) -> "SealPlan":
        """A read found this at `seq`."""
        seen = dict(self.seen)
        if seq < self.tail or seen.get(seq) in (Slot.DATA, Slot.SEAL):
            return self  # places never change; only collection takes things away, and the markers tell that
        seen[seq] = slot
        return self._moved_on(seen)

    def put(self, seq: ChainSeq, *, created: bool) -> "SealPlan":
        """The seal at `seq` was created; or not, or nobody knows: then the place will be read."""
        seen = dict(self.seen)
        left = tuple(other for other in self.to_seal if other != seq)
        if created:
            seen[seq] = Slot.SEAL
        elif seen.get(seq) is Slot.MISSING:
            del seen[seq]
        return replace(self, to_seal=left)._moved_on(seen)

    def listed(self, greatest_start: ChainSeq) -> "SealPlan":
        """The greatest start marker of a LIST that began after `next_action` asked for it."""
        if dict(self.seen).get(self.tail) is not Slot.SEAL:
            return self
        if greatest_start <= self.tail:
            return replace(self, confirmed=True, start=max(self.start, greatest_start))
        void = replace(self, start=greatest_start, tail=greatest_start, rounds=0, to_seal=())
        return void._moved_on(dict(self.seen))

    def _moved_on(self, seen: dict[ChainSeq, Slot]) -> "SealPlan":
        """The plan with these observations: the tail behind all data in a row; a new round if that place is
        free.
        """
        tail = self.tail
        while seen.get(tail) is Slot.DATA:
            tail = ChainSeq(tail + 1)
        to_seal, rounds = self.to_seal, self.rounds
        if not to_seal and seen.get(tail) is Slot.MISSING:
            wanted = _round_of_seals(tail, self.window, rounds)
            to_seal = tuple(seq for seq in wanted if seen.get(seq) not in (Slot.DATA, Slot.SEAL))
            rounds += 1
        ahead = tuple(sorted((seq, slot) for seq, slot in seen.items() if seq >= tail))
        return replace(self, tail=tail, seen=ahead, to_seal=to_seal, rounds=rounds)


def _round_of_seals(tail: ChainSeq, window: int, rounds: int) -> tuple[ChainSeq, ...]:
    """Where the seals of the round after `rounds` lost ones go."""
    near = [ChainSeq(seq) for seq in range(tail, tail + window + 1)]
    if rounds < LOST_ROUNDS_NEAR:
        return tuple(near)
    doublings = min(rounds - LOST_ROUNDS_NEAR, _FAR_DOUBLINGS_MAX)
    return (*near, ChainSeq(tail + FAR_AHEAD * 2**doublings))


def is_mine(found: WalFooter | Seal | None, nonce: bytes) -> bool:
    """After a taken key (412): whether the object there is the writer's own, so that its PUT had succeeded.

    `found` None: the place is empty again. If it isn't mine, the session is over (rule 5).
    """
    return isinstance(found, WalFooter) and found.nonce == nonce
