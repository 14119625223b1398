"""Keys are spelled one way and read back."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Invalid, Reason
from libs.model.ids import ChainSeq, LeaderEpoch, Offset, Partition, SessionId, TopicId, TopicName
from libs.segments import keys
from libs.segments.keys import ChainPosition, ManifestName, PartitionFolder, SegmentName
from tests.support.segments import NONCE, SESSION, TOPIC_ID

FOLDER = PartitionFolder(TopicName("orders"), TOPIC_ID, Partition(7))
PARSERS = [
    keys.parse_chain_object_key,
    keys.parse_chain_index_key,
    keys.parse_start_marker_key,
    keys.parse_segment_key,
    keys.parse_segment_index_key,
    keys.parse_manifest_key,
]
SPELLED = [
    (keys.chain_object_key(SESSION, 5), f"wal/{SESSION}/00000000000000000005.wal"),
    (keys.chain_index_key(SESSION, 64), f"wal/{SESSION}/index-00000000000000000064.idx"),
    (keys.start_marker_key(SESSION, 9), f"wal/{SESSION}/start-00000000000000000009"),
    (
        keys.segment_key(FOLDER, SegmentName(Offset(12), LeaderEpoch(3), NONCE)),
        f"orders-{TOPIC_ID}/00007/segment-00000000000000000012-0000000003-{NONCE.hex()}.kfs",
    ),
    (
        keys.segment_index_key(FOLDER, SegmentName(Offset(12), LeaderEpoch(3), NONCE)),
        f"orders-{TOPIC_ID}/00007/segment-00000000000000000012-0000000003-{NONCE.hex()}.index",
    ),
    (
        keys.manifest_key(FOLDER, ManifestName(LeaderEpoch(3), 4)),
        f"orders-{TOPIC_ID}/00007/manifest-0000000003-0000000004.kfm",
    ),
]


@pytest.mark.parametrize(("key", "spelling"), SPELLED)
def test_the_spelling_is_the_designs(key: str, spelling: str) -> None:
    assert key == spelling


def test_a_key_is_read_by_its_own_parser_only() -> None:
    for place, (key, _) in enumerate(SPELLED):
        assert [parser(key) is not None for parser in PARSERS] == [place == other for other in range(6)]


@given(st.uuids(), st.integers(0, 10**20 - 1))
def test_chain_keys_round_trip(session: UUID, seq: int) -> None:
    position = ChainPosition(SessionId(session), ChainSeq(seq))
    assert keys.parse_chain_object_key(keys.chain_object_key(*position)) == position
    assert keys.parse_chain_index_key(keys.chain_index_key(*position)) == position
    assert keys.parse_start_marker_key(keys.start_marker_key(*position)) == position


@given(
    st.from_regex(r"\A[a-zA-Z0-9._-]{1,249}\Z").filter(lambda name: name not in {".", ".."}),
    st.uuids(),
    st.integers(0, 99_999),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**31 - 1),
    st.binary(min_size=16, max_size=16),
)
def test_partition_keys_round_trip(
    topic: str, topic_id: UUID, partition: int, offset: int, epoch: int, nonce: bytes
) -> None:
    whole = PartitionFolder(TopicName(topic), TopicId(topic_id), Partition(partition))
    folder = whole._replace(topic=TopicName(topic[:200]))
    segment = SegmentName(Offset(offset), LeaderEpoch(epoch), nonce)
    manifest = ManifestName(LeaderEpoch(epoch), epoch)
    assert keys.parse_segment_key(keys.segment_key(folder, segment)) == (folder, segment)
    assert keys.parse_segment_index_key(keys.segment_index_key(folder, segment)) == (folder, segment)
    assert keys.parse_manifest_key(keys.manifest_key(folder, manifest)) == (folder, manifest)
    assert keys.segment_key(folder, segment).startswith(keys.segments_prefix(folder))
    assert keys.manifest_key(folder, manifest).startswith(keys.manifests_prefix(folder))
    assert keys.partition_prefix(folder).startswith(keys.topic_prefix(topic, TopicId(topic_id)))
    assert keys.segment_key(whole, segment) == keys.segment_key(folder, segment)
    assert max(map(len, keys.segment_key(whole, segment).split("/"))) <= 255


def test_a_long_name_is_cut_and_another_spelling_is_none() -> None:
    """MinIO refuses path components of more than 255 bytes; a topic's name may have 249 characters."""
    key = keys.manifest_key(FOLDER._replace(topic=TopicName("x" * 249)), ManifestName(LeaderEpoch(3), 4))
    assert key.startswith(f"{'x' * 200}-{TOPIC_ID}/")
    assert keys.parse_manifest_key(key) is not None
    assert keys.parse_manifest_key("x" + key) is None


def test_a_list_comes_in_order() -> None:
    listed = [keys.chain_object_key(SESSION, seq) for seq in (0, 9, 10, 99, 10**19)]
    listed += [keys.chain_index_key(SESSION, seq) for seq in (0, 64, 128)]
    listed += [keys.start_marker_key(SESSION, seq) for seq in (0, 64, 1000)]
    assert listed == sorted(listed)
    assert all(key.startswith(keys.session_prefix(SESSION)) for key in listed)
    assert all(key.startswith(keys.WAL_PREFIX) for key in listed)
    assert [key for key in listed if key.startswith(keys.start_markers_prefix(SESSION))] == listed[-3:]
    assert [key for key in listed if key.startswith(keys.chain_indexes_prefix(SESSION))] == listed[5:8]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ü", "a\n", "a\0", "x" * 250])
def test_names_that_are_no_topics(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        keys.topic_prefix(name, TOPIC_ID)
    assert caught.value.reason is Reason.INVALID_TOPIC_NAME


@given(st.text(max_size=80))
def test_other_keys_are_none(key: str) -> None:
    assert all(parser(key) is None for parser in PARSERS)


@pytest.mark.parametrize(
    "key",
    [
        f"wal/{str(SESSION).upper()}/00000000000000000005.wal",
        f"wal/{SESSION}/5.wal",
        f"wal/{SESSION}/00000000000000000005.wal\n",
        f"wal/{SESSION}/0000000000000000000५.wal",
        f"x/wal/{SESSION}/00000000000000000005.wal",
    ],
)
def test_other_spellings_are_none(key: str) -> None:
    assert keys.parse_chain_object_key(key) is None


def test_numbers_that_do_not_fit() -> None:
    for seq in (-1, 10**20):
        with pytest.raises(ValueError, match="digits"):
            keys.chain_object_key(SESSION, seq)
    with pytest.raises(ValueError, match="nonce"):
        keys.segment_key(FOLDER, SegmentName(Offset(0), LeaderEpoch(0), b"x"))
