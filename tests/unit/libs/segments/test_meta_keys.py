"""Keys of topic objects, tombstones and snapshots."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.ids import Revision, TopicId
from libs.segments import keys
from libs.segments.keys import SnapshotName, TopicObjectName
from tests.support.segments import TOPIC_ID

SNAPSHOT = SnapshotName(1_700_000_000_000, Revision(42))
STEM = "meta/snapshots/00000001700000000000-00000000000000000042"


def test_the_spelling() -> None:
    assert keys.STORE_ID_KEY == "meta/store-id"
    assert keys.topic_object_key(TopicObjectName(TOPIC_ID, 3)) == f"meta/topics/{TOPIC_ID}/0000000003.topic"
    assert keys.tombstone_key(TOPIC_ID) == f"meta/deleted/{TOPIC_ID}"
    assert keys.snapshot_key(SNAPSHOT) == STEM
    assert keys.snapshot_part_key(SNAPSHOT, 2) == f"{STEM}.00002"


@given(st.uuids(), st.integers(0, 10**10 - 1), st.integers(0, 10**20 - 1), st.integers(0, 99_999))
def test_keys_round_trip(topic: UUID, n: int, number: int, part: int) -> None:
    topic_id = TopicId(topic)
    snapshot = SnapshotName(number, Revision(n))
    name = TopicObjectName(topic_id, n)
    assert keys.parse_topic_object_key(keys.topic_object_key(name)) == name
    assert keys.parse_tombstone_key(keys.tombstone_key(topic_id)) == topic_id
    assert keys.parse_snapshot_key(keys.snapshot_key(snapshot)) == (snapshot, None)
    assert keys.parse_snapshot_key(keys.snapshot_part_key(snapshot, part)) == (snapshot, part)


@pytest.mark.parametrize(
    "key",
    [
        f"{STEM}.",
        f"{STEM}.002",
        f"{STEM}/",
        STEM[:-1],
        f"meta/topics/{TOPIC_ID}/3.topic",
        f"meta/deleted/{TOPIC_ID}/",
        f"wal/{TOPIC_ID}/00000000000000000005.wal",
    ],
)
def test_other_spellings_are_foreign(key: str) -> None:
    parsers = (keys.parse_topic_object_key, keys.parse_tombstone_key, keys.parse_snapshot_key)
    assert [parser(key) for parser in parsers] == [None] * 3


def test_a_snapshots_parts_follow_its_last_one_in_a_list() -> None:
    later = SnapshotName(SNAPSHOT.created_ms + 1, Revision(0))
    listed = [
        keys.snapshot_key(SNAPSHOT),
        keys.snapshot_part_key(SNAPSHOT, 0),
        keys.snapshot_part_key(SNAPSHOT, 1),
        keys.snapshot_key(later),
    ]
    assert listed == sorted(listed)
