"""Which owner gets which partition: rendezvous hashing with a balance bound, sticky, zone-aware. Pure.

Owns: the choice. Does not own: when and how partitions move (planning.py, controller.py).
Rules:
1 a partition stays where it is unless its owner is gone or the balance asks for it;
2 balance: no two owners differ by more than one partition, plus a tenth of an owner's share (so that deleting
  a topic of a large cluster moves nothing), and evening out takes the fewest moves there are;
3 within that, a topic's partitions spread over owners first and over zones second (one topic is often most of
  the load, and one zone's end should hit a part of every topic);
4 what is left is decided by rendezvous hashing (Thaler and Ravishankar, 1998): the same answer on every
  replica.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from libs.model.ids import OwnerId, TopicId, TopicPartition


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An owner that may get partitions: registered and not draining."""

    owner_id: OwnerId
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    at: TopicPartition
    source: OwnerId
    target: OwnerId


class _Load:
    """Who has how much, kept up to date while partitions are placed."""

    def __init__(self, candidates: Iterable[Candidate], today: Mapping[TopicPartition, OwnerId]) -> None:
        self.zone_of = {candidate.owner_id: candidate.zone for candidate in candidates}
        self.owners_in_zone = Counter(self.zone_of.values())
        self.total: Counter[OwnerId] = Counter()
        self.of_topic: Counter[tuple[TopicId, OwnerId]] = Counter()
        self.of_topic_in_zone: Counter[tuple[TopicId, str]] = Counter()
        for at, owner_id in today.items():
            self.add(at, owner_id, 1)

    def add(self, at: TopicPartition, owner_id: OwnerId, count: int) -> None:
        if owner_id in self.zone_of:
            self.total[owner_id] += count
            self.of_topic[at.topic_id, owner_id] += count
            self.of_topic_in_zone[at.topic_id, self.zone_of[owner_id]] += count

    def zone_share(self, topic_id: TopicId, owner_id: OwnerId) -> float:
        zone = self.zone_of[owner_id]
        return self.of_topic_in_zone[topic_id, zone] / self.owners_in_zone[zone]

    def rank(self, at: TopicPartition, owner_id: OwnerId) -> tuple[int, float, bytes]:
        """The least is the best for one more partition of the topic."""
        topic_id = at.topic_id
        return self.of_topic[topic_id, owner_id], self.zone_share(topic_id, owner_id), distance(at, owner_id)


def slack(partitions: int, owners: int) -> int:
    """By how many partitions owners may differ beyond one."""
    return partitions // owners // 10


def place(
    candidates: Sequence[Candidate],
    partitions: Sequence[TopicPartition],
    today: Mapping[TopicPartition, OwnerId],
) -> dict[TopicPartition, OwnerId]:
    """Owners for partitions that have none (any more); nothing else moves. Empty without candidates.

    `today` tells where all partitions are; those to be placed are not counted where they were.
    """
    if not candidates:
        return {}
    placing = set(partitions)
    load = _Load(candidates, {at: owner_id for at, owner_id in today.items() if at not in placing})
    placed = {}
    for at in partitions:
        # Only who has the fewest, or hardly more, gets one more: so the bound holds at every step.
        least = min(load.total[each.owner_id] for each in candidates)
        bound = least + slack(load.total.total(), len(candidates))
        within = [each.owner_id for each in candidates if load.total[each.owner_id] <= bound]
        best = min(within, key=lambda owner_id: load.rank(at, owner_id))
        load.add(at, best, 1)
        placed[at] = best
    return placed


def rebalance(
    candidates: Sequence[Candidate], today: Mapping[TopicPartition, OwnerId], *, moves_max: int
) -> list[Move]:
    """At most `moves_max` moves toward the balance bound; empty where it holds.

    Partitions of owners that are no candidates are left alone: they need `place`.
    """
    if len(candidates) < 2:
        return []
    load = _Load(candidates, today)
    held: dict[OwnerId, list[TopicPartition]] = {each.owner_id: [] for each in candidates}
    for at, owner_id in today.items():
        if owner_id in held:
            held[owner_id].append(at)
    allowed = 1 + slack(load.total.total(), len(candidates))
    moves: list[Move] = []
    while len(moves) < moves_max:
        source = max(held, key=lambda owner_id: (load.total[owner_id], owner_id))
        target = min(held, key=lambda owner_id: (load.total[owner_id], owner_id))
        if load.total[source] - load.total[target] <= allowed:
            break
        at = min(held[source], key=lambda each: _gain(load, each, source, target))
        held[source].remove(at)
        held[target].append(at)
        load.add(at, source, -1)
        load.add(at, target, 1)
        moves.append(Move(at=at, source=source, target=target))
    return moves


def _gain(load: _Load, at: TopicPartition, source: OwnerId, target: OwnerId) -> tuple[int, float, bytes]:
    """The least is the best to move: from where the topic has many to where it has few."""
    topic_id = at.topic_id
    return (
        load.of_topic[topic_id, target] - load.of_topic[topic_id, source],
        load.zone_share(topic_id, target) - load.zone_share(topic_id, source),
        distance(at, target),
    )


def distance(at: TopicPartition, owner_id: OwnerId) -> bytes:
    """Rendezvous: the owner with the least distance is the partition's own."""
    name = owner_id.encode()
    digest = blake2b(at.topic_id.bytes + at.partition.to_bytes(4, "big") + name, digest_size=8)
    return digest.digest()
