"""What may be collected, and what has to be: both judges, on one history with a chain and a manifest."""

import pytest

from libs.segments.keys import chain_object_key, parse_manifest_key, start_marker_key
from tests.sim.checkers import no_live_collected, no_orphan
from tests.sim.history import History
from tests.unit.sim.checkers.telling import OTHER, TP, A, B, Telling, partition_state


def told() -> tuple[Telling, str]:
    """A's chain of three objects was compacted and collected to its end; B owns the partition, and has not
    written. Returns the manifest's key.
    """
    telling = Telling()
    telling.created()
    telling.owns(A, 1)
    telling.state((A, 1, 0, None))
    for seq in range(3):
        telling.wal(A, seq, f"v{seq}", base=seq)
    for seq in range(3, 8):
        telling.seal(A, seq)
    telling.owns(B, 2)
    telling.state((A, 1, 0, 3), (B, 2, 0, None))
    key = telling.manifest(1, 0, end=3, epoch=2)
    telling.state((B, 2, 0, None), manifest=key)
    telling.marker(A, 3)
    for seq in (0, 1, 2, 4, 5, 6, 7):
        telling.gone(chain_object_key(A, seq))
    return telling, key


def ended(telling: Telling, key: str, **end: object) -> History:
    telling.wait(10_000)
    telling.add(None)
    states = {TP: partition_state((B, 2, 0, None), manifest=key)}
    return telling.end(states=states, live=(B,), **end)  # type: ignore[arg-type]


def test_collected_to_the_seal_and_no_farther() -> None:
    telling, key = told()
    history = ended(telling, key)
    assert no_live_collected.check(history) == []
    assert no_orphan.check(history) == []
    assert chain_object_key(A, 3) in telling.bucket()


def test_a_named_chain_object_is_deleted() -> None:
    telling = Telling()
    telling.state((A, 1, 1, None))
    for seq in range(3):
        telling.wal(A, seq)
    telling.marker(A, 2)
    telling.gone(chain_object_key(A, 0))
    assert no_live_collected.check(telling.history) == []
    telling.gone(chain_object_key(A, 1))
    assert len(no_live_collected.check(telling.history)) == 1


def test_a_chain_object_is_deleted_without_a_marker() -> None:
    telling = Telling()
    telling.wal(A, 0)
    telling.gone(chain_object_key(A, 0))
    (violation,) = no_live_collected.check(telling.history)
    assert "its chain starts at 0" in violation.what


def test_a_marker_is_beyond_what_is_stored() -> None:
    telling = Telling()
    telling.wal(A, 0)
    telling.wal(A, 2)
    telling.marker(A, 1)
    assert no_live_collected.check(telling.history) == []
    telling.marker(A, 3)
    assert len(no_live_collected.check(telling.history)) == 1


def test_the_greatest_marker_is_deleted() -> None:
    telling = Telling()
    for seq in range(2):
        telling.wal(A, seq)
        telling.marker(A, seq + 1)
    telling.gone(start_marker_key(A, 1))
    assert no_live_collected.check(telling.history) == []
    telling.gone(start_marker_key(A, 2))
    assert len(no_live_collected.check(telling.history)) == 1


def test_a_deleted_object_is_named_later() -> None:
    telling, key = told()
    telling.state((A, 1, 2, 3), (B, 2, 0, None), manifest=key)
    assert len(no_live_collected.check(telling.history)) == 1


@pytest.mark.parametrize("kind", [".kfs", ".index", ".kfm"])
def test_what_the_manifest_names_is_deleted(kind: str) -> None:
    telling, _ = told()
    for key in telling.bucket():
        if key.endswith(kind):
            telling.gone(key)
    assert len(no_live_collected.check(telling.history)) == 1


def test_a_segment_was_deleted_before_it_was_named() -> None:
    telling = Telling()
    key = telling.manifest(1, 0, end=3)
    (segment,) = (each for each in telling.bucket() if each.endswith(".kfs"))
    telling.gone(segment)
    telling.state(manifest=key)
    (violation,) = no_live_collected.check(telling.history)
    assert "which is not there" in violation.what


def test_a_manifest_is_named_that_was_never_stored() -> None:
    telling, key = told()
    telling.state(manifest=key.replace("0000000001.kfm", "0000000009.kfm"))
    assert len(no_live_collected.check(telling.history)) == 1


def test_a_chain_object_is_left_below_the_end() -> None:
    telling, key = told()
    telling.wal(A, 1)
    assert len(no_orphan.check(ended(telling, key))) == 1


def test_a_void_object_is_left() -> None:
    telling, key = told()
    telling.wal(A, 6)
    assert len(no_orphan.check(ended(telling, key))) == 1


def test_an_old_marker_is_left() -> None:
    telling, key = told()
    telling.marker(A, 2)
    assert len(no_orphan.check(ended(telling, key))) == 1


def test_a_dead_chain_that_nobody_ended_is_left() -> None:
    telling, key = told()
    telling.wal(B, 0)
    assert no_orphan.check(ended(telling, key)) == []
    telling.history.end = None
    states = {TP: partition_state(manifest=key)}
    assert len(no_orphan.check(telling.end(states=states))) == 1


def test_a_dropped_manifest_is_left() -> None:
    telling, key = told()
    newer = telling.manifest(2, 0, end=3, epoch=2)
    telling.state((B, 2, 0, None), manifest=newer)
    (violation,) = no_orphan.check(ended(telling, newer))
    assert key in violation.what


def test_an_upload_of_an_epoch_that_is_over_is_left() -> None:
    telling, key = told()
    telling.manifest(1, 1, end=3, epoch=1)
    telling.owns(B, 2)
    assignment = telling.history.entries[-1].event.assignment
    left = {
        violation.what.split()[0]
        for violation in no_orphan.check(ended(telling, key, assignments={TP: assignment}))
    }
    assert len(left) == 3
    assert any(parse_manifest_key(each) for each in left)


def test_a_deleted_topics_objects_are_left() -> None:
    telling, key = told()
    assert len(no_orphan.check(ended(telling, key, topics=(OTHER,)))) == 3


def test_what_was_let_go_lately_is_not_judged() -> None:
    """Retention goes on to the end; collection of what it lets go had no time (seed 951 at 0e7d6d3)."""
    telling = Telling()
    telling.owns(A, 1)
    telling.state((A, 1, 0, None))
    for seq in range(3):
        telling.wal(A, seq)
    telling.wait(10_000)
    telling.state((A, 1, 3, None))
    telling.add(None)
    states = {TP: partition_state((A, 1, 3, None))}
    assert no_orphan.check(telling.end(states=states, live=(A,))) == []
    telling.wait(10_000)
    telling.add(None)
    assert len(no_orphan.check(telling.end(states=states, live=(A,)))) == 3


def test_what_is_young_is_not_judged() -> None:
    telling, key = told()
    telling.wait(10_000)
    telling.wal(A, 1)
    telling.add(None)
    states = {TP: partition_state((B, 2, 0, None), manifest=key)}
    assert no_orphan.check(telling.end(states=states, live=(B,))) == []


def test_a_run_without_time_for_collection_is_not_judged() -> None:
    telling, key = told()
    telling.wal(A, 1)
    assert no_orphan.check(ended(telling, key, collected=False)) == []


def test_a_record_is_left_that_retention_had_to_take() -> None:
    telling = Telling()
    telling.produced("a", at=0, timestamp_ms=1_000)
    telling.produced("b", at=1, timestamp_ms=9_800_000)
    telling.wait(10_000)
    telling.add(None)
    retention = {"retention.ms": "60000"}
    assert no_orphan.check(telling.end("b", log_start=1, configs=retention)) == []
    assert no_orphan.check(telling.end("a", "b")) == []
    (violation,) = no_orphan.check(telling.end("a", "b", configs=retention))
    assert violation.what.startswith("a at 0 ")


def test_a_log_is_left_of_which_all_is_old() -> None:
    for sent_ms, findings in ((9_000_000, 1), (9_800_000, 0)):
        telling = Telling()
        telling.produced("a", at=0, timestamp_ms=sent_ms)
        telling.wait(10_000)
        telling.add(None)
        assert len(no_orphan.check(telling.end("a", configs={"retention.ms": "60000"}))) == findings


def test_segments_are_left_below_the_log_start() -> None:
    telling, _ = told()
    key = telling.manifest(2, 0, 2, end=5, epoch=2)
    telling.state((B, 2, 0, None), manifest=key, log_start=2)
    telling.wait(10_000)
    telling.add(None)
    state = partition_state((B, 2, 0, None), manifest=key, log_start=2)
    found = no_orphan.check(telling.end(states={TP: state}, live=(B,)))
    assert any("1 segments below the log start" in violation.what for violation in found)


def test_a_segment_is_left_that_retention_by_size_had_to_take() -> None:
    telling, _ = told()
    key = telling.manifest(2, 0, 2, 4, end=6, epoch=2)
    telling.state((B, 2, 0, None), manifest=key)
    found = no_orphan.check(ended(telling, key, configs={"retention.bytes": "2000"}))
    assert any("retention.bytes is 2000" in violation.what for violation in found)
    found = no_orphan.check(ended(telling, key, configs={"retention.bytes": "2001"}))
    assert not any("retention.bytes" in violation.what for violation in found)
