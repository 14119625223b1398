"""Which objects can never be named again. Pure: from LISTs, references and own facts to keys.

Owns: every decision of collection, each with the rule that allows it. Does not own: LISTs, references, PUTs
and DELETEs (the other files here).
Rules (design section 3):
1 a chain loses only a prefix, and only below a start marker that a LIST showed (rule 8);
2 the seal that ends a chain stays, and its greatest marker (rule 9);
3 references are read after the LIST that they judge, facts of the own memory before them (rule 16);
4 what is missing in the metadata store is not thereby collectable: the store may be wiped or set back. A
  chain goes only while the store has a record of its session, a topic only where its deletion was written.

Why rule 3's order is right. A reference to the own chain begins as an opening in this owner's memory, and
moves from there into a partition's state. Memory is read first: an opening is seen there, or has settled in
the state, which is read later, or begins later, at or above the `durable` that was read first. An object of a
partition's folder is named by a manifest that was committed before its epoch was over: the assignment that is
read after the LIST has a greater epoch, so that no commit can name it any more.

A dead chain is sealed before the references are read that judge it. Else its owner, alive after all, could
register, open a partition and acknowledge records between the read and the seal. Behind the seal whatever it
opens begins at the chain's end or beyond it, and is empty.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from libs.model.ids import ChainSeq, LeaderEpoch, SessionId, TopicId, TopicPartition
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.model.references import PartitionReferences, SessionReferences, TopicPhase
from libs.objectstore.port import ObjectInfo
from libs.segments.keys import (
    ManifestName,
    PartitionFolder,
    SegmentName,
    parse_chain_index_key,
    parse_chain_object_key,
    parse_manifest_key,
    parse_segment_index_key,
    parse_segment_key,
    parse_start_marker_key,
)
from libs.segments.manifest import Manifest
from libs.segments.marker import greatest_start

OpeningKey = tuple[TopicPartition, LeaderEpoch]


class Allowed(StrEnum):
    """Why an object may be deleted."""

    BELOW_START = "below_start"
    """A chain's object, index or seal below its greatest start marker (rule 8)."""
    OLD_MARKER = "old_marker"
    """A start marker below the greatest (rule 8)."""
    BEYOND_END = "beyond_end"
    """In a chain that was collected to its end: void (rule 7)."""
    DROPPED = "dropped"
    """A committed pointer named it no more (rule 16)."""
    UNNAMED = "unnamed"
    """Of an epoch that is over, and no manifest that counts names it (rule 16)."""
    TOPIC_DELETED = "topic_deleted"
    """Of a topic whose deletion was written and that nobody has (rule 17)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletable:
    key: str
    size_bytes: int
    allowed: Allowed


# Chains


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFacts:
    """What a live session knew of itself before it asked for references."""

    session: SessionId
    durable_seq: ChainSeq
    openings: Mapping[OpeningKey, ChainSeq]
    """Partitions whose open position may not be in the store yet, and the least seq it may begin at."""
    least_read_seq: ChainSeq | None = None
    """The least object of the chain that a partition in memory still reads; None: none."""

    def without(self, done: Collection[OpeningKey]) -> "OwnFacts":
        """These openings settled: the references that said so count for them."""
        return replace(self, openings={key: seq for key, seq in self.openings.items() if key not in done})


def own_start(facts: OwnFacts, found: SessionReferences | None) -> ChainSeq | None:
    """Where the own live chain may start; None where the metadata store does not know this session."""
    if found is None or not found.recorded or found.session != facts.session:
        return None
    needed = [facts.durable_seq, *facts.openings.values()]
    if facts.least_read_seq is not None:
        needed.append(facts.least_read_seq)
    if found.least_from_seq is not None:
        needed.append(found.least_from_seq)
    return min(needed)


def settled(
    session: SessionId,
    openings: Iterable[OpeningKey],
    partitions: Mapping[TopicPartition, PartitionReferences],
) -> set[OpeningKey]:
    """Openings whose transaction is in the state, or can't get there any more: it compares the assignment."""
    done: set[OpeningKey] = set()
    for tp, epoch in openings:
        found = partitions.get(tp)
        if found is None or (found.session, found.leader_epoch) != (session, epoch) or found.opened:
            done.add((tp, epoch))
    return done


def dead_start(found: SessionReferences, end: ChainSeq) -> ChainSeq | None:
    """Where the chain of a dead session that was sealed at `end` may start; None: it is not dead."""
    if not found.dead:
        return None
    return end if found.least_from_seq is None else min(end, found.least_from_seq)


def is_ended(found: SessionReferences, start: ChainSeq, end: ChainSeq) -> bool:
    """Whether the session's record may go: all of its chain is collected, and no state names it."""
    return found.dead and found.least_from_seq is None and start == end


def chain_garbage(
    session: SessionId, listed: Iterable[ObjectInfo], *, end: ChainSeq | None = None
) -> list[Deletable]:
    """What may go of one chain, by the markers that the LIST itself shows.

    `end`: where the chain is known to end, since before the LIST of its markers began (rule 8: whoever finds
    a seal lists the markers after it, because a seal below the greatest is void). What is beyond it goes once
    the start has come there. Late PUTs of the dead owner may still take those places: they were void with the
    seals there and are void without. The place `end` keeps its seal: whoever PUTs there stops.
    """
    objects = list(listed)
    start = greatest_start(each.key for each in objects if _session_of(each.key) == session)
    over = end is not None and start == end
    found: list[Deletable] = []
    for each in objects:
        allowed = _chain_rule(session, each.key, start, over=over)
        if allowed is not None:
            found.append(Deletable(key=each.key, size_bytes=each.size_bytes, allowed=allowed))
    return found


def _chain_rule(session: SessionId, key: str, start: ChainSeq, *, over: bool) -> Allowed | None:
    place = parse_chain_object_key(key)
    if place is not None and place.session == session:
        if place.seq < start:
            return Allowed.BELOW_START
        return Allowed.BEYOND_END if over and place.seq > start else None
    index = parse_chain_index_key(key)
    if index is not None and index.session == session:
        return Allowed.BELOW_START if over or index.seq + CHAIN_INDEX_EVERY <= start else None
    marker = parse_start_marker_key(key)
    if marker is not None and marker.session == session and marker.seq < start:
        return Allowed.OLD_MARKER
    return None


def _session_of(key: str) -> SessionId | None:
    marker = parse_start_marker_key(key)
    return None if marker is None else marker.session


# Partitions' folders


def manifests_to_read(
    listed: Iterable[ObjectInfo], references: PartitionReferences | None
) -> tuple[str, ...]:
    """The manifests by which a folder is judged; empty where nothing in it can be an orphan.

    The one that the state names, and the newest where it is newer: a rebuild from the bucket alone takes the
    newest, so it must stay whole, with all that it names.
    """
    objects = list(listed)
    if references is None or not any(_is_over(each.key, references) for each in objects):
        return ()
    counting = {references.manifest_key} - {""}
    newest = _newest_manifest(objects)
    if newest is not None:
        counting.add(newest)
    return tuple(sorted(counting))


def folder_garbage(
    listed: Iterable[ObjectInfo], references: PartitionReferences | None, manifests: Mapping[str, Manifest]
) -> list[Deletable]:
    """Orphans in one partition's folder: LISTed first, then the references, then `manifests_to_read`.

    Nothing where one of those manifests could not be read, or the partition has no assignment.
    """
    objects = list(listed)
    wanted = manifests_to_read(objects, references)
    if references is None or any(key not in manifests for key in wanted):
        return []
    names: set[ManifestName] = set()
    segments: set[SegmentName] = set()
    for key in wanted:
        parsed = parse_manifest_key(key)
        if parsed is None:
            return []  # a state that names what is no manifest: never guess
        names.add(parsed[1])
        segments.update(each.name for each in manifests[key].segments)
    found: list[Deletable] = []
    for each in objects:
        if not _is_over(each.key, references):
            continue
        manifest, segment = parse_manifest_key(each.key), _segment_of(each.key)
        if (manifest is not None and manifest[1] in names) or segment in segments:
            continue
        found.append(Deletable(key=each.key, size_bytes=each.size_bytes, allowed=Allowed.UNNAMED))
    return found


def _segment_of(key: str) -> SegmentName | None:
    parsed = parse_segment_key(key) or parse_segment_index_key(key)
    return None if parsed is None else parsed[1]


def _is_over(key: str, references: PartitionReferences) -> bool:
    """Whether the object is one of ours, of a writer whose epoch is over."""
    segment = _segment_of(key)
    if segment is not None:
        return segment.leader_epoch < references.leader_epoch
    manifest = parse_manifest_key(key)
    return manifest is not None and manifest[1].leader_epoch < references.leader_epoch


def _newest_manifest(objects: Sequence[ObjectInfo]) -> str | None:
    known = [
        (parsed[1], each.key) for each in objects if (parsed := parse_manifest_key(each.key)) is not None
    ]
    return max(known)[1] if known else None


# Topics


def topic_garbage(topic_id: TopicId, listed: Iterable[ObjectInfo]) -> list[Deletable]:
    """All of our objects in the folder of a topic that `is_gone`."""
    return [
        Deletable(key=each.key, size_bytes=each.size_bytes, allowed=Allowed.TOPIC_DELETED)
        for each in listed
        if (folder := folder_of(each.key)) is not None and folder.topic_id == topic_id
    ]


def folder_of(key: str) -> PartitionFolder | None:
    """The partition's folder that an object of ours is in; None for any other key."""
    parsed = parse_segment_key(key) or parse_segment_index_key(key) or parse_manifest_key(key)
    return None if parsed is None else parsed[0]


def is_gone(phase: TopicPhase, *, buried: bool) -> bool:
    """Whether all below a topic's folder may go.

    DELETED says so by itself. A store that does not know the topic says nothing (it may be empty): then the
    tombstone in the bucket has to name it. A topic that the store has, stays, whatever the bucket says.
    """
    return phase is TopicPhase.DELETED or (phase is TopicPhase.UNKNOWN and buried)
