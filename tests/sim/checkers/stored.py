"""What the bucket and the metadata store held at any moment of a history.

Owns: decoding chain objects and manifests of the run; who could find a record at a given moment. Does not
own: judgements.
Rules: 1 formats are read by libs/segments, records by the tests' own decoder; 2 a chain object
counts while everything before it in its chain was stored, and no seal is among that.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf

from libs.model.cluster import ChainPosition, PartitionState
from libs.model.ids import ChainSeq, SessionId, TopicPartition
from libs.records import iter_batches
from libs.segments.keys import parse_chain_object_key, parse_manifest_key
from libs.segments.manifest import Manifest, parse_manifest
from libs.segments.seal import Seal, parse_chain_object
from libs.segments.wal import WalRange
from tests.sim.facts import ObjectWritten, StateCommitted
from tests.sim.history import History
from tests.support.records import decode_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value was stored: in an object of a chain, at an offset of a partition."""

    session: SessionId
    seq: ChainSeq
    tp: TopicPartition
    leader_epoch: int
    offset: int
    written: int
    """The entry at which the object was stored."""


@dataclass(slots=True)
class ChainOnRecord:
    """All that was ever stored in a session's chain: the entry at which each place was taken, and by what."""

    written: dict[int, int] = field(default_factory=dict)
    seals: set[int] = field(default_factory=set)

    _complete_since: list[float] = field(default_factory=list)

    def complete_since(self, seq: int) -> float:
        """The entry after which everything before `seq` was stored and no seal among it; infinite if never.

        To be asked once all of the chain is known.
        """
        known = self._complete_since
        while len(known) <= seq:
            before = len(known) - 1
            if before < 0:
                known.append(-1)
            elif before in self.seals:
                known.append(inf)
            else:
                known.append(max(known[before], self.written.get(before, inf)))
        return known[seq]

    def end(self) -> int | None:
        """The seq of the seal that ends the chain; None while none does. Ignores what was deleted since."""
        seq = 0
        while seq in self.written:
            if seq in self.seals:
                return seq
            seq += 1
        return None


@dataclass(slots=True)
class Stored:
    """Built once a history by `stored`."""

    places: defaultdict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    """By value."""
    chains: dict[SessionId, ChainOnRecord] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    states: defaultdict[TopicPartition, list[tuple[int, PartitionState | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """What the metadata store had of a partition, and since which entry."""
    anything: bool = False
    """Whether the history says anything about the bucket at all."""

    def state_at(self, tp: TopicPartition, entry: int) -> PartitionState | None:
        """The committed state just before that entry."""
        latest = None
        for since, state in self.states.get(tp, ()):
            if since >= entry:
                break
            latest = state
        return latest

    def is_durable(self, place: Place, entry: int) -> bool:
        """Whether the object, and everything before it in its chain, was there before that entry (rule 4)."""
        return place.written < entry and self.chains[place.session].complete_since(place.seq) < entry

    def is_named(self, place: Place, entry: int) -> bool:
        """Whether whoever opens the partition would find the record: by a position, or in a manifest."""
        state = self.state_at(place.tp, entry)
        if state is None:
            return False
        if place.offset < state.log_start_offset:
            return True
        manifest = self.manifests.get(state.manifest_key)
        if manifest is not None and place.offset < manifest.end_offset:
            return True
        return any(_holds(position, place) for position in state.positions)


def _holds(position: ChainPosition, place: Place) -> bool:
    return (
        (position.session, position.leader_epoch) == (place.session, place.leader_epoch)
        and position.from_seq <= place.seq
        and (position.to_seq is None or place.seq < position.to_seq)
    )


def stored(history: History) -> Stored:
    """Decodes everything that was stored in the run. Not to be changed: the next judge gets the same."""
    return _stored(history, len(history))


@lru_cache(maxsize=1)
def _stored(history: History, _entries: int) -> Stored:
    found = Stored()
    for entry, event in history.each(ObjectWritten, StateCommitted):
        if isinstance(event, StateCommitted):
            found.states[event.tp].append((entry.number, event.state))
            continue
        found.anything = True
        at = parse_chain_object_key(event.key)
        if at is not None:
            _take_chain_object(found, at.session, at.seq, entry.number, event.body)
        elif parse_manifest_key(event.key) is not None:
            found.manifests[event.key] = parse_manifest(event.body)
    return found


def _take_chain_object(found: Stored, session: SessionId, seq: ChainSeq, entry: int, body: bytes) -> None:
    chain = found.chains.setdefault(session, ChainOnRecord())
    first = seq not in chain.written
    if first:
        chain.written[seq] = entry
    parsed = parse_chain_object(body)
    if isinstance(parsed, Seal):
        if first:
            chain.seals.add(seq)
        return
    view = memoryview(body)
    for each in parsed.ranges:
        _take_range(found, session, seq, entry, each, view)


def _take_range(
    found: Stored, session: SessionId, seq: ChainSeq, entry: int, wal_range: WalRange, view: memoryview
) -> None:
    data = view[wal_range.position : wal_range.position + wal_range.size_bytes]
    for batch in iter_batches(data):
        for offset, record in decode_batch(batch.data):
            found.places[(record.value or b"").decode()].append(
                Place(
                    session=session,
                    seq=seq,
                    tp=wal_range.tp,
                    leader_epoch=wal_range.leader_epoch,
                    offset=offset,
                    written=entry,
                )
            )
