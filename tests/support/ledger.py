"""What was acknowledged, held against what is consumed afterwards. Pure.

Owns: the judgement of a history (promises 1 to 3 of the design). Does not own: clients, processes, time.
Rules:
1 every acknowledged record is at its acknowledged offset, or anywhere in its partition if that is unknown;
2 one idempotent producer's records are in the order of their numbers in each partition, each once, also
  those whose acknowledgement never came;
3 offsets are contiguous from the first one, or from where the log begins by now: no holes;
4 an offset has one value: whoever else read it, at whatever time, read the same.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

UNKNOWN_OFFSET = -1
"""A client may learn that a record is durable and not where: librdkafka takes the success of a later batch as
that of an earlier one whose own answer was lost."""


class Place(NamedTuple):
    partition: int
    offset: int


class Stamp(NamedTuple):
    """What a record's value says: who sent it and its number, which grows within one partition."""

    producer: str
    number: int

    def value(self) -> bytes:
        """As the value of a record."""
        return f"{self.producer}.{self.number}".encode()

    @classmethod
    def of(cls, value: bytes) -> "Stamp":
        """Raises ValueError where the value is no stamp."""
        producer, dot, number = value.decode().rpartition(".")
        if not dot:
            raise ValueError(f"{value!r} has no dot")
        return cls(producer, int(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A broken promise: `kind` in a word, `what` in a sentence."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


Reading = Mapping[Place, Stamp]
"""What one consumer read, from the first record of each partition to some end."""


class Ledger:
    """Collects acknowledgements; judges readings. Grows with what is acknowledged: for tests of minutes."""

    def __init__(self) -> None:
        self._acknowledged: list[tuple[Stamp, Place]] = []

    def acknowledged(self, stamp: Stamp, place: Place) -> None:
        self._acknowledged.append((stamp, place))

    def __len__(self) -> int:
        return len(self._acknowledged)

    def ends(self) -> dict[int, int]:
        """The offset after the last acknowledged record of each partition."""
        ends: dict[int, int] = {}
        for _, place in list(self._acknowledged):
            ends[place.partition] = max(ends.get(place.partition, 0), place.offset + 1)
        return ends

    def judge(
        self, reading: Reading, *, upto: int | None = None, starts: Mapping[int, int] = MappingProxyType({})
    ) -> list[Violation]:
        """`reading` began after the first `upto` acknowledgements (all of them, if not told).

        `starts`: where the log of a partition begins, if not at 0. What was acknowledged below that is not
        asked for, nor what was acknowledged without an offset: it may be below.
        """
        promised = self._acknowledged[: len(self._acknowledged) if upto is None else upto]
        return [
            *_twice_acknowledged(promised),
            *_missing([each for each in promised if not _may_be_gone(each[1], starts)], reading),
            *_out_of_order(reading),
            *_holes(reading, starts),
        ]


def compare_reads(truth: Reading, reads: Iterable[tuple[Place, Stamp]]) -> list[Violation]:
    """Rule 4: `reads` of anybody, repeated or not, below the ends of `truth`."""
    ends = _ends(truth)
    return [
        Violation(kind="two values", what=f"{place} was read as {stamp}, and is {truth.get(place)}")
        for place, stamp in reads
        if place.offset < ends.get(place.partition, 0) and truth.get(place) != stamp
    ]


def _twice_acknowledged(promised: Collection[tuple[Stamp, Place]]) -> list[Violation]:
    at: dict[Place, Stamp] = {}
    found = []
    for stamp, place in promised:
        if place.offset != UNKNOWN_OFFSET and at.setdefault(place, stamp) != stamp:
            found.append(
                Violation(kind="one offset for two", what=f"{place} was given to {at[place]} and {stamp}")
            )
    return found


def _missing(promised: Collection[tuple[Stamp, Place]], reading: Reading) -> list[Violation]:
    places = {(place.partition, stamp): place for place, stamp in reading.items()}
    found = []
    for stamp, place in promised:
        if reading.get(place) == stamp:
            continue
        elsewhere = places.get((place.partition, stamp))
        if elsewhere is None:
            there = reading.get(place, "nothing")
            found.append(
                Violation(kind="lost", what=f"{stamp} was acknowledged at {place}, where {there} is")
            )
        elif place.offset != UNKNOWN_OFFSET:
            found.append(
                Violation(
                    kind="misplaced", what=f"{stamp} was acknowledged at {place}, and is at {elsewhere}"
                )
            )
    return found


def _out_of_order(reading: Reading) -> list[Violation]:
    found = []
    seen: set[tuple[int, Stamp]] = set()
    last: dict[tuple[int, str], tuple[int, Place]] = {}
    for place, stamp in sorted(reading.items()):
        if (place.partition, stamp) in seen:
            found.append(Violation(kind="duplicated", what=f"{stamp} is at {place} once more"))
            continue
        seen.add((place.partition, stamp))
        key = (place.partition, stamp.producer)
        before, where = last.get(key, (-1, place))
        if stamp.number < before:
            found.append(
                Violation(kind="reordered", what=f"{stamp} at {place} comes after number {before} at {where}")
            )
        last[key] = (stamp.number, place)
    return found


def _may_be_gone(place: Place, starts: Mapping[int, int]) -> bool:
    return place.offset < starts.get(place.partition, UNKNOWN_OFFSET)


def _holes(reading: Reading, starts: Mapping[int, int]) -> list[Violation]:
    offsets: defaultdict[int, list[int]] = defaultdict(list)
    for place in sorted(reading):
        offsets[place.partition].append(place.offset)
    found = []
    for partition, known in offsets.items():
        for before, after in itertools.pairwise([starts.get(partition, 0) - 1, *known]):
            if after != before + 1:
                found.append(
                    Violation(
                        kind="hole",
                        what=f"partition {partition} has nothing from {before + 1} to {after - 1}",
                    )
                )
    return found


def _ends(reading: Reading) -> dict[int, int]:
    ends: dict[int, int] = {}
    for place in reading:
        ends[place.partition] = max(ends.get(place.partition, 0), place.offset + 1)
    return ends
