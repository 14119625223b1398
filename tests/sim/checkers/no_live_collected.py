"""No live object is collected: what is referenced is not deleted, what was deleted is not referenced later.

Owns: the judgement, along the history: a reference counts from the commit that made it to the one that ended
it. Does not own: the seal that ends a chain (promise 5), what should have been deleted (no_orphan).
Clauses:
1 a chain object that a committed position names is not deleted, nor is one deleted before;
2 a manifest that a committed state names, its segments and their indexes are not deleted, nor were before;
3 a chain loses only what is below a start marker that is there by then, or what is beyond its end once its
  start has come there (design section 3, rules 7 and 8);
4 the greatest start marker stays, and none is beyond what is stored of its chain without a gap.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from libs.model.cluster import PartitionState
from libs.model.ids import SessionId, TopicPartition
from libs.segments.keys import (
    PartitionFolder,
    parse_chain_object_key,
    parse_manifest_key,
    parse_start_marker_key,
    segment_index_key,
    segment_key,
)
from libs.segments.manifest import Manifest
from tests.sim.checkers.stored import Stored, stored
from tests.sim.checkers.violation import Violation
from tests.sim.facts import ObjectDeleted, ObjectWritten, StateCommitted
from tests.sim.history import History

NAME = "no_live_collected"


def check(history: History) -> list[Violation]:
    """What was deleted and should not have been."""
    replay = _Replay(stored(history))
    found: list[Violation] = []
    for entry, event in history.each(ObjectWritten, ObjectDeleted, StateCommitted):
        match event:
            case ObjectWritten():
                problems = replay.written(event.key)
            case ObjectDeleted():
                problems = replay.deleted(event.key, entry.number)
            case StateCommitted():
                problems = replay.committed(event.tp, event.state)
        found += [
            Violation(checker=NAME, what=what, evidence=(*evidence, entry.number))
            for what, evidence in problems
        ]
    return found


def keys_of(key: str, manifest: Manifest) -> frozenset[str]:
    """The keys of all that a manifest names, its own among them."""
    parsed = parse_manifest_key(key)
    if parsed is None:
        return frozenset((key,))
    folder: PartitionFolder = parsed[0]
    names = [each.name for each in manifest.segments]
    return frozenset(
        (
            key,
            *(segment_key(folder, name) for name in names),
            *(segment_index_key(folder, name) for name in names),
        )
    )


_Problem = tuple[str, tuple[int, ...]]


@dataclass(slots=True)
class _Replay:
    """The bucket and the references as they were at each moment."""

    kept: Stored
    bucket: set[str] = field(default_factory=set)
    states: dict[TopicPartition, PartitionState] = field(default_factory=dict)
    named: dict[TopicPartition, frozenset[str]] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    """Deleted keys, and by which entry."""
    gone_seqs: defaultdict[SessionId, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    seqs: defaultdict[SessionId, set[int]] = field(default_factory=lambda: defaultdict(set))
    """All that were ever written."""
    markers: defaultdict[SessionId, set[int]] = field(default_factory=lambda: defaultdict(set))

    def written(self, key: str) -> Iterator[_Problem]:
        self.bucket.add(key)
        self.gone.pop(key, None)
        place = parse_chain_object_key(key)
        if place is not None:
            self.seqs[place.session].add(place.seq)
        marker = parse_start_marker_key(key)
        if marker is None:
            return
        self.markers[marker.session].add(marker.seq)
        missing = next((seq for seq in range(marker.seq) if seq not in self.seqs[marker.session]), None)
        if missing is not None:
            yield (
                f"the chain of {marker.session} was moved to start at {marker.seq}: {missing} was not stored",
                (),
            )

    def deleted(self, key: str, entry: int) -> Iterator[_Problem]:
        self.bucket.discard(key)
        self.gone[key] = entry
        for tp, keys in self.named.items():
            if key in keys:
                yield f"{key} was deleted, and the state of {tp} names it", ()
        marker = parse_start_marker_key(key)
        if marker is not None:
            left = self.markers[marker.session]
            left.discard(marker.seq)
            if max(left, default=-1) < marker.seq:
                yield f"{key}, the greatest marker of its chain, was deleted", ()
        place = parse_chain_object_key(key)
        if place is not None:
            yield from self._chain_object_deleted(key, place.session, place.seq, entry)

    def _chain_object_deleted(self, key: str, session: SessionId, seq: int, entry: int) -> Iterator[_Problem]:
        start = max(self.markers[session], default=0)
        end = self.kept.chains[session].end() if session in self.kept.chains else None
        if seq > start == end:
            return  # void, and beyond the seal that stays
        self.gone_seqs[session][seq] = entry
        if seq >= start:
            yield f"{key} was deleted, and its chain starts at {start}", ()
        for tp, state in self.states.items():
            if any(_names(state, session, seq)):
                yield f"{key} was deleted, and a position of {tp} names it", ()

    def committed(self, tp: TopicPartition, state: PartitionState | None) -> Iterator[_Problem]:
        if state is None:
            self.states.pop(tp, None)
            self.named.pop(tp, None)
            return
        before = self.states.get(tp)
        self.states[tp] = state
        for position in state.positions:
            if before is not None and position in before.positions:
                continue
            for seq, entry in self.gone_seqs[position.session].items():
                if seq >= position.from_seq and (position.to_seq is None or seq < position.to_seq):
                    yield f"{tp} names {seq} of session {position.session}, which was deleted", (entry,)
        if before is not None and before.manifest_key == state.manifest_key:
            return
        manifest = self.kept.manifests.get(state.manifest_key)
        if not state.manifest_key:
            self.named.pop(tp, None)
        elif manifest is None:
            yield f"{tp} names {state.manifest_key}, which was never stored", ()
        else:
            keys = self.named[tp] = keys_of(state.manifest_key, manifest)
            for key in sorted(keys - self.bucket):
                deleted = (self.gone[key],) if key in self.gone else ()
                yield f"{tp} names {key}, which is not there", deleted


def _names(state: PartitionState, session: SessionId, seq: int) -> Iterator[bool]:
    for position in state.positions:
        yield (
            position.session == session
            and position.from_seq <= seq
            and (position.to_seq is None or seq < position.to_seq)
        )
