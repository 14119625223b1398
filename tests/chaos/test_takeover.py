"""An owner with many partitions dies: the others open each of them, and nothing is lost. No bound on time."""

from pathlib import Path

from tests.chaos.dead_owner import open_dead_owner_scene
from tests.chaos.fleet import Fleet
from tests.chaos.takeover import backlog_objects

PARTITIONS = 60
DELAY_SECONDS = 0.03


def test_every_partition_of_a_dead_owner_is_open_elsewhere_and_holds_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    with open_dead_owner_scene(tmp_path) as scene:
        scene.create_topics(PARTITIONS)
        fleet = Fleet(scene.bootstrap)
        fleet.send(scene.parts, each=3)
        fleet.wait_acknowledged(seconds_max=60)
        scene.delay(DELAY_SECONDS)
        done = scene.kill("owner-1", fleet)
        assert len(done.opened) >= PARTITIONS // 3 - 2
        assert done.opened.keys() == done.acknowledged.keys()
        assert not fleet.errors
        assert not scene.verdict(fleet)


def test_a_backlog_has_as_many_objects_as_the_store_or_the_budget_allows() -> None:
    assert backlog_objects(10, put_seconds=0.03) == round(600 / 0.038)
    assert backlog_objects(10, put_seconds=0.2) == 600 * 20
