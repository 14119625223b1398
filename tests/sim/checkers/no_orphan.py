"""No orphan survives collection: at the end the bucket has only what somebody can still name.

Owns: the judgement of the final bucket. Does not own: when an object may go (no_live_collected); how long
collection takes: the run gives it its time (`EndState.collected`), and what became an orphan within the last
`grace_seconds` of the run is not judged.
Clauses, of what may stay:
1 of a live session's chain: what a state names and what follows, or all of it above the durable end; of an
  ended one: what a state names, the seal at its end; of both the greatest marker, indexes over what stays;
2 in a partition's folder: what its state's manifest or its newest manifest names, and of the assignment's
  own epoch, until it is over: uploads that no state ever named, and what a late PUT brought back after it was
  dropped and deleted: nobody but that epoch's owner could tell it from an upload in flight;
3 nothing of a deleted topic; `meta/` stays;
4 nor records that retention by time had to take `grace_seconds` ago, or a quarter of that where all of the
  log is so old: what is young may keep what is older in one segment with it; nor, where a partition's state
  is older than that, segments below its log start, or so many that retention by size had to take the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from libs.model.cluster import PartitionState
from libs.model.ids import LeaderEpoch, SessionId, TopicPartition
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.segments.keys import (
    ManifestName,
    PartitionFolder,
    parse_chain_index_key,
    parse_chain_object_key,
    parse_manifest_key,
    parse_segment_index_key,
    parse_segment_key,
    parse_start_marker_key,
)
from tests.sim.checkers.no_live_collected import keys_of
from tests.sim.checkers.stored import Stored, stored
from tests.sim.checkers.story import tell
from tests.sim.checkers.violation import Violation
from tests.sim.facts import ObjectDeleted, ObjectWritten, StateCommitted
from tests.sim.history import EndState, History

NAME = "no_orphan"

_META = "meta/"
_SHARE_OF_GRACE = 4
"""Retention is looked at every few seconds, grace has rounds of compaction and collection."""


def check(history: History) -> list[Violation]:
    """Objects at the end that nobody can name."""
    end = history.end
    if end is None or not end.collected:
        return []
    judge = _Judge(history, end, stored(history))
    found = []
    for key in sorted(end.bucket):
        why = judge.why(key)
        if why:
            entry = judge.written.get(key)
            found.append(
                Violation(
                    checker=NAME, what=f"{key} is left: {why}", evidence=() if entry is None else (entry,)
                )
            )
    return [*found, *_kept_too_long(history, end), *_not_freed(history, end, judge.kept)]


def _kept_too_long(history: History, end: EndState) -> list[Violation]:
    """Clause 4: of each partition the oldest record that should be gone."""
    story = tell(history)
    last_at = history.entries[-1].at if history.entries else 0.0
    now_ms = history.epoch_ms + last_at * 1000 - history.skew_ms_max
    grace_ms = end.grace_seconds * 1000
    retention_ms = {topic.topic_id: int(topic.configs.get("retention.ms", -1)) for topic in end.topics}
    found = []
    for tp, read in end.reads.items():
        keeps_ms = retention_ms.get(tp.topic_id, -1)
        if not read.records or keeps_ms < 0:
            continue
        oldest, newest = read.records[0], read.records[-1]
        for record, late_ms in ((oldest, grace_ms), (newest, grace_ms / _SHARE_OF_GRACE)):
            sent = [batch.sent.timestamp_ms for batch in story.sends_of.get(record.value, ())]
            if sent and max(sent) + keeps_ms < now_ms - late_ms:
                what = f"{record.value} at {record.offset} of {tp} is left: retention.ms is {keeps_ms}"
                found.append(Violation(checker=NAME, what=what))
                break
    return found


def _not_freed(history: History, end: EndState, kept: Stored) -> list[Violation]:
    """Clause 4: segments that the last manifest should not have."""
    committed_at = {event.tp: entry.at for entry, event in history.each(StateCommitted)}
    last_at = history.entries[-1].at if history.entries else 0.0
    bytes_max = {topic.topic_id: int(topic.configs.get("retention.bytes", -1)) for topic in end.topics}
    found = []
    for tp, state in end.states.items():
        manifest = kept.manifests.get(state.manifest_key)
        if manifest is None or committed_at.get(tp, last_at) >= last_at - end.grace_seconds:
            continue
        readable = [each for each in manifest.segments if each.last_offset >= state.log_start_offset]
        bound, left_bytes = bytes_max.get(tp.topic_id, -1), sum(each.size_bytes for each in readable[1:])
        what = ""
        if len(readable) < len(manifest.segments):
            what = f"{len(manifest.segments) - len(readable)} segments below the log start"
        elif left_bytes and 0 <= bound <= left_bytes:
            what = f"{left_bytes} bytes without its first segment, and retention.bytes is {bound}"
        if what:
            found.append(Violation(checker=NAME, what=f"{tp} has {what}"))
    return found


@dataclass(slots=True)
class _Judge:
    history: History
    end: EndState
    kept: Stored
    written: dict[str, int] = field(default_factory=dict)
    least_named: dict[SessionId, int] = field(default_factory=dict)
    greatest_marker: dict[SessionId, int] = field(default_factory=dict)
    manifest_keys: dict[TopicPartition, frozenset[str]] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    deleted: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.written = {event.key: entry.number for entry, event in self.history.each(ObjectWritten)}
        self.deleted = {event.key: entry.number for entry, event in self.history.each(ObjectDeleted)}
        for state in (*self.end.states.values(), *self._let_go_lately()):
            for each in state.positions:
                least = self.least_named.get(each.session, each.from_seq)
                self.least_named[each.session] = min(least, each.from_seq)
        for key in self.end.bucket:
            marker = parse_start_marker_key(key)
            if marker is not None:
                before = self.greatest_marker.get(marker.session, 0)
                self.greatest_marker[marker.session] = max(before, marker.seq)
        self._name_manifests()

    def _let_go_lately(self) -> Iterator[PartitionState]:
        """States that were replaced so late that what only they named may still be there."""
        judged_before = self._last_at() - self.end.grace_seconds
        before: dict[TopicPartition, PartitionState] = {}
        for entry, event in self.history.each(StateCommitted):
            replaced = before.pop(event.tp, None)
            if replaced is not None and entry.at >= judged_before:
                yield replaced
            if event.state is not None:
                before[event.tp] = event.state

    def _name_manifests(self) -> None:
        newest: dict[TopicPartition, tuple[ManifestName, str]] = {}
        for key in self.end.bucket:
            parsed = parse_manifest_key(key)
            if parsed is not None:
                tp = _tp(parsed[0])
                newest[tp] = max(newest.get(tp, (parsed[1], key)), (parsed[1], key))
        for tp in {*self.end.states, *newest}:
            state = self.end.states.get(tp)
            keys = {newest[tp][1]} if tp in newest else set()
            keys |= {state.manifest_key} if state is not None and state.manifest_key else set()
            self.manifest_keys[tp] = frozenset().union(*(self._named_by(key) for key in keys))
        before: dict[TopicPartition, str] = {}
        judged_before = self._last_at() - self.end.grace_seconds
        for entry, event in self.history.each(StateCommitted):
            key = "" if event.state is None else event.state.manifest_key
            dropped = before.get(event.tp, "")
            before[event.tp] = key
            if dropped and dropped != key and entry.at < judged_before:
                self.dropped |= self._named_by(dropped)

    def _named_by(self, key: str) -> frozenset[str]:
        manifest = self.kept.manifests.get(key)
        return frozenset((key,)) if manifest is None else keys_of(key, manifest)

    def _last_at(self) -> float:
        return self.history.entries[-1].at if self.history.entries else 0.0

    def why(self, key: str) -> str:
        """Why nobody can name the object; '' where somebody can, or it is too young to be judged."""
        entry = self.written.get(key)
        if entry is not None and self.history.entries[entry].at >= self._last_at() - self.end.grace_seconds:
            return ""
        if key.startswith(_META):
            return ""
        return next(self._problems(key), "")

    def _problems(self, key: str) -> Iterator[str]:
        place = parse_chain_object_key(key)
        index, marker = parse_chain_index_key(key), parse_start_marker_key(key)
        folder = _in_folder(key)
        if place is not None:
            yield from self._chain_object(place.session, place.seq)
        elif index is not None:
            if index.seq + CHAIN_INDEX_EVERY <= self._least(index.session):
                yield f"all that it covers is below {self._least(index.session)}"
        elif marker is not None:
            if marker.seq < self.greatest_marker[marker.session]:
                yield f"a greater marker is at {self.greatest_marker[marker.session]}"
        elif folder is not None:
            yield from self._in_folder(key, *folder)
        else:
            yield "it is no object of ours"

    def _least(self, session: SessionId) -> int:
        """The first place of the chain that has to stay."""
        chain = self.kept.chains.get(session)
        end = None if chain is None else chain.end()
        length = len(chain.written) if chain is not None else 0
        return self.least_named.get(session, length if end is None else end)

    def _chain_object(self, session: SessionId, seq: int) -> Iterator[str]:
        chain = self.kept.chains.get(session)
        end = None if chain is None else chain.end()
        if seq == end:
            return
        if session not in self.end.live_sessions and end is None:
            yield "its session is over, and the chain was never ended"
        elif end is not None and seq > end:
            if session not in self.least_named:
                yield f"it is void: the chain ends at {end}, and nothing of it is named"
        elif seq < self._least(session):
            yield f"nothing below {self._least(session)} is named"

    def _in_folder(self, key: str, folder: PartitionFolder, epoch: LeaderEpoch) -> Iterator[str]:
        tp = _tp(folder)
        if all(topic.topic_id != folder.topic_id for topic in self.end.topics):
            yield "its topic was deleted"
            return
        if key in self.manifest_keys.get(tp, ()):
            return
        assignment = self.end.assignments.get(tp)
        is_over = assignment is not None and epoch < assignment.leader_epoch
        came_back = key in self.deleted and self.written.get(key, -1) > self.deleted[key]
        if key in self.dropped and (is_over or not came_back):
            yield "a committed manifest named it, and a later one does not"
        elif is_over:
            yield f"no manifest names it, and epoch {epoch} is over"


def _tp(folder: PartitionFolder) -> TopicPartition:
    return TopicPartition(folder.topic_id, folder.partition)


def _in_folder(key: str) -> tuple[PartitionFolder, LeaderEpoch] | None:
    segment = parse_segment_key(key) or parse_segment_index_key(key)
    if segment is not None:
        return segment[0], segment[1].leader_epoch
    manifest = parse_manifest_key(key)
    return None if manifest is None else (manifest[0], manifest[1].leader_epoch)
