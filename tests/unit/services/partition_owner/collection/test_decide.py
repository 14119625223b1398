"""No decision deletes what anything may still read: random states, stale LISTs, late PUTs."""

from collections.abc import Mapping
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.ids import (
    ChainSeq,
    LeaderEpoch,
    Offset,
    Partition,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.model.references import PartitionReferences, SessionReferences, TopicPhase
from libs.objectstore.port import ObjectInfo
from libs.segments.keys import (
    ManifestName,
    PartitionFolder,
    SegmentName,
    chain_index_key,
    chain_object_key,
    manifest_key,
    parse_chain_index_key,
    parse_chain_object_key,
    parse_start_marker_key,
    segment_index_key,
    segment_key,
    start_marker_key,
)
from libs.segments.manifest import Manifest, SegmentRef
from services.partition_owner.collection.decide import (
    Allowed,
    OpeningKey,
    OwnFacts,
    chain_garbage,
    dead_start,
    folder_garbage,
    is_ended,
    is_gone,
    manifests_to_read,
    own_start,
    settled,
    topic_garbage,
)

OWN, OTHER = SessionId(UUID(int=1)), SessionId(UUID(int=2))
TP = TopicPartition(TopicId(UUID(int=9)), Partition(3))
FOLDER = PartitionFolder(TopicName("orders"), TP.topic_id, TP.partition)
seqs = st.integers(0, 300).map(ChainSeq)


def info(key: str) -> ObjectInfo:
    return ObjectInfo(key=key, size_bytes=10, modified_ms=0)


def refs(session: SessionId = OWN, **fields: object) -> SessionReferences:
    return SessionReferences(**{"session": session, "recorded": True, **fields})  # type: ignore[arg-type]


# The own chain


@given(
    durable=seqs,
    openings=st.dictionaries(st.tuples(st.just(TP), st.integers(0, 5).map(LeaderEpoch)), seqs, max_size=4),
    read=st.none() | seqs,
    least=st.none() | seqs,
)
def test_the_own_start_passes_nothing_that_is_needed(
    durable: ChainSeq, openings: Mapping[OpeningKey, ChainSeq], read: ChainSeq | None, least: ChainSeq | None
) -> None:
    facts = OwnFacts(session=OWN, durable_seq=durable, openings=openings, least_read_seq=read)
    start = own_start(facts, refs(least_from_seq=least, registered=True, assigned=True))
    assert start is not None
    assert start <= durable
    assert all(start <= seq for seq in openings.values())
    assert read is None or start <= read
    assert least is None or start <= least
    assert start in {durable, read, least, *openings.values()}


def test_a_store_that_does_not_know_the_session_frees_nothing() -> None:
    facts = OwnFacts(session=OWN, durable_seq=ChainSeq(9), openings={})
    assert own_start(facts, None) is None
    assert own_start(facts, refs(recorded=False)) is None
    assert own_start(facts, refs(OTHER)) is None


def test_an_opening_is_settled_only_by_proof() -> None:
    key = (TP, LeaderEpoch(4))

    def found(**fields: object) -> PartitionReferences:
        values = {"session": OWN, "leader_epoch": LeaderEpoch(4), "opened": False, "manifest_key": ""}
        return PartitionReferences(**{**values, **fields})  # type: ignore[arg-type]

    assert settled(OWN, [key], {TP: found()}) == set()  # it may land yet
    assert settled(OWN, [key], {TP: found(opened=True)}) == {key}
    assert settled(OWN, [key], {TP: found(leader_epoch=LeaderEpoch(5))}) == {key}
    assert settled(OWN, [key], {TP: found(session=OTHER)}) == {key}
    assert settled(OWN, [key], {}) == {key}
    facts = OwnFacts(session=OWN, durable_seq=ChainSeq(9), openings={key: ChainSeq(2)})
    assert own_start(facts, refs()) == 2
    assert own_start(facts.without({key}), refs()) == 9


# Dead chains


@given(end=seqs, least=st.none() | seqs)
def test_a_dead_chain_starts_at_what_is_needed_or_at_its_end(end: ChainSeq, least: ChainSeq | None) -> None:
    found = refs(least_from_seq=least)
    start = dead_start(found, end)
    assert start is not None
    assert start <= end
    assert least is None or start <= least
    assert is_ended(found, start, end) == (least is None)


@pytest.mark.parametrize("named", ["registered", "assigned", "predecessor"])
def test_a_named_session_is_not_dead(named: str) -> None:
    fields: dict[str, object] = {named: True}
    assert dead_start(refs(OWN, **fields), ChainSeq(5)) is None
    assert not is_ended(refs(OWN, **fields), ChainSeq(5), ChainSeq(5))


def test_a_session_without_a_record_is_not_dead() -> None:
    """A wiped metadata store names nothing: nothing is collected by that."""
    assert dead_start(refs(recorded=False), ChainSeq(5)) is None


@st.composite
def chains(draw: st.DrawFn) -> list[ObjectInfo]:
    """Any objects below two sessions' prefixes, and foreign ones."""
    keys = set[str]()
    for session in (OWN, OTHER):
        keys |= {chain_object_key(session, seq) for seq in draw(st.sets(seqs, max_size=20))}
        keys |= {
            chain_index_key(session, block * CHAIN_INDEX_EVERY) for block in draw(st.sets(st.integers(0, 4)))
        }
        keys |= {start_marker_key(session, seq) for seq in draw(st.sets(seqs, max_size=4))}
        keys |= {f"wal/{session}/start-7", f"wal/{session}/notes.txt", "wal/readme"}
    return [info(key) for key in sorted(keys)]


@given(listed=chains(), end=st.none() | seqs)
def test_a_chain_loses_a_prefix_below_a_marker_that_was_seen(
    listed: list[ObjectInfo], end: ChainSeq | None
) -> None:
    markers = [
        place.seq
        for each in listed
        if (place := parse_start_marker_key(each.key)) is not None and place.session == OWN
    ]
    start = max(markers, default=ChainSeq(0))
    over = end is not None and end == start
    for each in chain_garbage(OWN, listed, end=end):
        place, index = parse_chain_object_key(each.key), parse_chain_index_key(each.key)
        marker = parse_start_marker_key(each.key)
        found = place or index or marker
        assert found is not None, "a foreign object"
        assert found.session == OWN, "another chain's object"
        if place is not None:
            assert place.seq != start, "the place where the chain starts or ends"
            assert place.seq < start or over
        elif index is not None:
            assert over or index.seq + CHAIN_INDEX_EVERY <= start, "an index over what is left"
        else:
            assert found.seq < start, "the greatest marker"


@given(listed=chains(), dropped=st.data())
def test_a_stale_or_partial_list_only_keeps_more(listed: list[ObjectInfo], dropped: st.DataObject) -> None:
    """A LIST that lacks objects (older markers: an older LIST) never allows what the whole one does not."""
    seen = [each for each in listed if dropped.draw(st.booleans())]
    whole = {each.key for each in chain_garbage(OWN, listed)}
    assert {each.key for each in chain_garbage(OWN, seen)} <= whole


def test_a_chain_that_is_over_keeps_its_end_and_its_marker() -> None:
    keys = [chain_object_key(OWN, seq) for seq in range(3, 12)]
    keys += [chain_index_key(OWN, 0), start_marker_key(OWN, 2), start_marker_key(OWN, 7)]
    garbage = {each.key: each.allowed for each in chain_garbage(OWN, map(info, keys), end=ChainSeq(7))}
    assert set(keys) - set(garbage) == {chain_object_key(OWN, 7), start_marker_key(OWN, 7)}
    assert garbage[chain_object_key(OWN, 8)] is Allowed.BEYOND_END
    assert garbage[start_marker_key(OWN, 2)] is Allowed.OLD_MARKER
    # The same seal with a greater marker is void: nothing is known to be the end then.
    moved = [*keys, start_marker_key(OWN, 9)]
    left = set(moved) - {each.key for each in chain_garbage(OWN, map(info, moved), end=ChainSeq(7))}
    assert {chain_object_key(OWN, seq) for seq in (9, 10, 11)} <= left


# Partitions' folders

epochs = st.integers(0, 6).map(LeaderEpoch)
names = st.builds(
    SegmentName, st.integers(0, 50).map(Offset), epochs, st.integers(0, 3).map(lambda n: bytes([n]) * 16)
)
manifest_names = st.builds(ManifestName, epochs, st.integers(0, 4))


def manifest(name: ManifestName, segments: frozenset[SegmentName]) -> Manifest:
    return Manifest(
        tp=TP,
        leader_epoch=name.leader_epoch,
        n=name.n,
        created_ms=0,
        log_start=0,
        end_offset=100,
        segments=tuple(
            SegmentRef(
                name=each,
                last_offset=each.base_offset,
                record_count=1,
                size_bytes=200,
                index_bytes=20,
                max_timestamp_ms=0,
            )
            for each in sorted(segments)
        ),
    )


@st.composite
def folders(draw: st.DrawFn) -> tuple[list[ObjectInfo], PartitionReferences, dict[str, Manifest]]:
    """A folder, who has the partition by now, and every manifest that there is."""
    written = draw(st.dictionaries(manifest_names, st.frozensets(names, max_size=4), max_size=5))
    epoch = draw(epochs)
    may_be_named = [name for name in written if name.leader_epoch <= epoch]
    named = draw(st.none() | st.sampled_from(may_be_named)) if may_be_named else None
    manifests = {manifest_key(FOLDER, name): manifest(name, held) for name, held in written.items()}
    segments = draw(st.frozensets(names, max_size=6)).union(*written.values())
    keys = [*manifests, *(key(FOLDER, each) for each in segments for key in (segment_key, segment_index_key))]
    keys += ["orders/notes.txt", f"orders-{TP.topic_id}/00003/readme"]
    seen = [info(key) for key in sorted(keys) if draw(st.integers(0, 9))]  # a LIST may be older than the rest
    references = PartitionReferences(
        session=OWN,
        leader_epoch=epoch,
        opened=True,
        manifest_key="" if named is None else manifest_key(FOLDER, named),
    )
    return seen, references, manifests


def _epoch_of(key: str) -> int:
    """Spelled out here, so that the test does not rest on what it tests."""
    stem = key.rsplit("/", 1)[1]
    parts = stem.removesuffix(".kfm").split("-")
    return int(parts[2]) if parts[0] == "segment" else int(parts[1])


@given(found=folders())
def test_nothing_named_and_nothing_of_a_present_epoch_goes(
    found: tuple[list[ObjectInfo], PartitionReferences, dict[str, Manifest]],
) -> None:
    listed, references, manifests = found
    wanted = manifests_to_read(listed, references)
    garbage = {each.key for each in folder_garbage(listed, references, manifests)}
    assert all(_epoch_of(key) < references.leader_epoch for key in garbage)
    reachable = set[str]()
    for key in {references.manifest_key} & set(manifests):
        reachable.add(key)
        for each in manifests[key].segments:
            reachable |= {segment_key(FOLDER, each.name), segment_index_key(FOLDER, each.name)}
    assert not garbage & reachable
    assert garbage <= {each.key for each in listed}
    # The newest manifest stays whole: a rebuild from the bucket alone would take it.
    newest = max((each.key for each in listed if each.key.endswith(".kfm")), default="")
    if newest > references.manifest_key:
        assert not garbage & {segment_key(FOLDER, each.name) for each in manifests[newest].segments}
    for missing in wanted:
        left = {key: each for key, each in manifests.items() if key != missing}
        assert folder_garbage(listed, references, left) == []


@given(found=folders())
def test_every_orphan_of_an_epoch_that_is_over_goes(
    found: tuple[list[ObjectInfo], PartitionReferences, dict[str, Manifest]],
) -> None:
    listed, references, manifests = found
    counting = set(manifests_to_read(listed, references))
    named = {each.name for key in counting & set(manifests) for each in manifests[key].segments}
    kept_keys = counting | {key(FOLDER, name) for name in named for key in (segment_key, segment_index_key)}
    ours = {each.key for each in listed if each.key.endswith((".kfs", ".index", ".kfm"))}
    garbage = {each.key for each in folder_garbage(listed, references, manifests)}
    assert all(key in kept_keys or _epoch_of(key) >= references.leader_epoch for key in ours - garbage)


def test_a_partition_without_an_assignment_keeps_all() -> None:
    listed = [info(segment_key(FOLDER, SegmentName(Offset(0), LeaderEpoch(0), bytes(16))))]
    assert manifests_to_read(listed, None) == ()
    assert folder_garbage(listed, None, {}) == []


# Topics


def test_a_topic_goes_only_where_its_deletion_was_written() -> None:
    assert is_gone(TopicPhase.DELETED, buried=False)
    assert is_gone(TopicPhase.UNKNOWN, buried=True)
    assert not is_gone(TopicPhase.UNKNOWN, buried=False)  # a wiped store knows none
    assert not is_gone(TopicPhase.EXISTS, buried=True)  # one that was set back has it again
    assert not is_gone(TopicPhase.DELETING, buried=True)


def test_foreign_keys_in_a_topics_folder_stay() -> None:
    other = PartitionFolder(TopicName("orders"), TopicId(UUID(int=10)), Partition(0))
    name = SegmentName(Offset(0), LeaderEpoch(0), bytes(16))
    listed = [
        info(key)
        for key in (
            segment_key(FOLDER, name),
            manifest_key(FOLDER, ManifestName(LeaderEpoch(0), 0)),
            segment_key(other, name),
            f"orders-{TP.topic_id}/photo.jpg",
        )
    ]
    assert [each.key for each in topic_garbage(TP.topic_id, listed)] == [each.key for each in listed[:2]]
