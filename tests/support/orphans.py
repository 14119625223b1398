"""Which objects of a bucket nothing can name any more: "no orphan survives", for any test and any checker.

Owns: the judgement, spelled out on its own, so that nothing rests on the code that it judges. Does not own:
when collection has had the time to come there.
Rules: what is expected to stay: 1 what manifests that count name; what a present epoch wrote, whose uploads
may be under way; the newest manifest and what it names; 2 of a chain that is needed, everything from the
least position on; of one that is over, the seal that ends it and its greatest marker; 3 what is not ours, or
in `meta/`.
"""

from collections.abc import Iterable, Iterator, Mapping

from libs.clients.metadata import MetadataClient
from libs.model.ids import ChainSeq, SessionId, TopicId, TopicPartition
from libs.model.limits import CHAIN_INDEX_EVERY
from libs.model.references import References, TopicPhase
from libs.objectstore.port import ObjectStore
from libs.segments.keys import (
    parse_chain_index_key,
    parse_chain_object_key,
    parse_manifest_key,
    parse_segment_index_key,
    parse_segment_key,
    parse_start_marker_key,
)
from libs.segments.manifest import parse_manifest
from libs.segments.seal import Seal, parse_chain_object

ASKED_MAX = 1000


async def bucket_orphans(store: ObjectStore, metadata: MetadataClient) -> dict[str, str]:
    """The orphans of a bucket, each with why it is one."""
    objects: dict[str, bytes] = {}
    after = ""
    while True:
        page = await store.list("", start_after=after)
        for each in page.objects:
            objects[each.key] = await store.get(each.key)
        if not page.truncated:
            break
        after = page.objects[-1].key
    sessions, partitions = sessions_in(objects), partitions_in(objects)
    assert max(len(sessions), len(partitions)) <= ASKED_MAX
    references = await metadata.get_references(
        sessions=sorted(sessions),
        partitions=sorted(partitions),
        topics=sorted({tp.topic_id for tp in partitions}),
    )
    return dict(find_orphans(objects, references))


def sessions_in(keys: Iterable[str]) -> set[SessionId]:
    """Every session with an object."""
    places = (
        parse_chain_object_key(key) or parse_chain_index_key(key) or parse_start_marker_key(key)
        for key in keys
    )
    return {place.session for place in places if place is not None}


def partitions_in(keys: Iterable[str]) -> set[TopicPartition]:
    """Every partition with a compacted object."""
    parsed = (
        parse_segment_key(key) or parse_segment_index_key(key) or parse_manifest_key(key) for key in keys
    )
    return {
        TopicPartition(TopicId(each[0].topic_id), each[0].partition) for each in parsed if each is not None
    }


def find_orphans(objects: Mapping[str, bytes], references: References) -> Iterator[tuple[str, str]]:
    """(key, why) of each orphan. `references`: of all sessions, partitions and topics in the bucket."""
    for session in sessions_in(objects):
        yield from _in_chain(session, objects, references)
    for tp in partitions_in(objects):
        yield from _in_folder(tp, objects, references)


def _in_chain(
    session: SessionId, objects: Mapping[str, bytes], references: References
) -> Iterator[tuple[str, str]]:
    found = references.sessions[session]
    places, indexes, markers = (
        {place.seq: key for key in objects if (place := parse(key)) is not None and place.session == session}
        for parse in (parse_chain_object_key, parse_chain_index_key, parse_start_marker_key)
    )
    start = max(markers, default=ChainSeq(0))
    yield from ((key, "an old marker") for seq, key in markers.items() if seq < start)
    yield from ((key, "below the marker") for seq, key in places.items() if seq < start)
    yield from (
        (key, "its objects are gone") for seq, key in indexes.items() if seq + CHAIN_INDEX_EVERY <= start
    )
    if found.recorded and not found.dead:
        return
    if found.least_from_seq is None:
        end = start if start in places else None
        if end is None or not isinstance(parse_chain_object(objects[places[end]]), Seal):
            yield f"wal/{session}/", "a dead chain that nobody needs is not collected to its end"
        yield from ((key, "beyond the end") for seq, key in places.items() if seq > start)
        yield from ((key, "of a chain without objects") for key in indexes.values())
    elif found.least_from_seq > start:
        needed = f"a dead chain is needed from {found.least_from_seq} on"
        yield from ((key, needed) for seq, key in places.items() if start <= seq < found.least_from_seq)


def _in_folder(
    tp: TopicPartition, objects: Mapping[str, bytes], references: References
) -> Iterator[tuple[str, str]]:
    gone = references.topics[tp.topic_id] in (TopicPhase.UNKNOWN, TopicPhase.DELETED)
    assigned = references.partitions.get(tp)
    manifests = {
        parsed[1]: key
        for key in objects
        if (parsed := parse_manifest_key(key)) is not None and (parsed[0].topic_id, parsed[0].partition) == tp
    }
    counting = {max(manifests)} if manifests else set()
    if assigned is not None and (named := parse_manifest_key(assigned.manifest_key)) is not None:
        counting.add(named[1])
    segments = {
        each.name
        for name in counting
        if name in manifests
        for each in parse_manifest(objects[manifests[name]]).segments
    }
    for key in objects:
        segment = parse_segment_key(key) or parse_segment_index_key(key)
        manifest = parse_manifest_key(key)
        if segment is not None and (segment[0].topic_id, segment[0].partition) == tp:
            epoch, counts = segment[1].leader_epoch, segment[1] in segments
        elif manifest is not None and (manifest[0].topic_id, manifest[0].partition) == tp:
            epoch, counts = manifest[1].leader_epoch, manifest[1] in counting
        else:
            continue
        if gone:
            yield key, "its topic is gone"
        elif assigned is not None and epoch < assigned.leader_epoch and not counts:
            yield key, f"of epoch {epoch}, which is over, and no manifest names it"
