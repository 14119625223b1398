"""Snapshots: parts and digest, and which snapshots are kept."""

from dataclasses import replace

import pytest

from libs.model.errors import Corrupt
from libs.model.ids import Revision
from libs.segments.keys import SnapshotName
from libs.segments.snapshot import (
    NO_DIGEST,
    Digest,
    SnapshotEntry,
    SnapshotPart,
    check_whole,
    encode_snapshot_part,
    kept_snapshots,
    parse_snapshot_part,
)
from tests.support.segments import sample_snapshot

HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * HOUR_MS


def name_at(created_ms: int) -> SnapshotName:
    return SnapshotName(created_ms, Revision(1))


def two_parts() -> list[SnapshotPart]:
    first = SnapshotPart(
        name=SnapshotName(5, Revision(11)),
        part=0,
        parts=0,
        digest=NO_DIGEST,
        entries=(SnapshotEntry("a", b"1", Revision(1)),),
    )
    last_entries = (SnapshotEntry("b", b"2", Revision(2)),)
    digest = Digest()
    digest.add((*first.entries, *last_entries))
    return [first, replace(first, part=1, parts=2, digest=digest.value(), entries=last_entries)]


def test_what_was_written_comes_back() -> None:
    part = sample_snapshot()
    assert parse_snapshot_part(encode_snapshot_part(part)) == part


def test_a_whole_snapshot_is_told_from_a_torn_one() -> None:
    first, last = two_parts()
    check_whole([first, last])
    changed = replace(first, entries=(SnapshotEntry("a", b"other", Revision(1)),))
    for torn in ([last], [last, first], [changed, last], [replace(first, name=name_at(6)), last]):
        with pytest.raises(Corrupt):
            check_whole(torn)


def test_the_digest_is_of_keys_and_values_not_of_revisions() -> None:
    def digest_of(*entries: SnapshotEntry) -> bytes:
        digest = Digest()
        digest.add(entries)
        return digest.value()

    entry = SnapshotEntry("a", b"1", Revision(1))
    assert digest_of(entry) == digest_of(entry._replace(mod_revision=Revision(5)))
    assert digest_of(entry) != digest_of(entry._replace(value=b"2"))
    assert digest_of(entry) != digest_of()


@pytest.mark.parametrize(
    "wrong",
    [
        replace(sample_snapshot(), parts=3),
        replace(sample_snapshot(), digest=NO_DIGEST),
        replace(sample_snapshot(), parts=0),
        replace(sample_snapshot(), entries=sample_snapshot().entries[::-1]),
        replace(sample_snapshot(), name=name_at(-1)),
    ],
)
def test_an_impossible_part_is_not_written(wrong: SnapshotPart) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of the rules
        encode_snapshot_part(wrong)


def test_the_newest_and_one_a_day_are_kept() -> None:
    now_ms = 100 * DAY_MS
    names = [name_at(now_ms - hours * HOUR_MS) for hours in range(1, 24 * 20)]
    kept = kept_snapshots(names, now_ms=now_ms, recent_max=3, days_max=7)
    ages = sorted((now_ms - name.created_ms) // HOUR_MS for name in kept)
    assert ages == [1, 2, 3, 25, 49, 73, 97, 121, 145]


def test_the_newest_is_kept_however_old() -> None:
    assert kept_snapshots([name_at(0)], now_ms=DAY_MS * 1000, recent_max=1, days_max=7) == {name_at(0)}
