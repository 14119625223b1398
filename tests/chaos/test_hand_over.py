"""Partitions that are handed over, by a drain and by SIGTERM: nobody is told of an error, and it is quick."""

import time
from collections.abc import Iterator

import pytest

from tests.chaos.load import Load, Truth
from tests.chaos.machine import ForeignLoad
from tests.chaos.scene import RECOVERY_SECONDS_MAX, Scene, scene_under_load, slowest

TOPIC = "hand-over"
PAUSE_SECONDS_MAX = 1.0


@pytest.fixture(scope="module")
def load(scene: Scene) -> Iterator[Load]:
    with scene_under_load(scene, TOPIC) as load:
        yield load


@pytest.fixture(scope="module")
def truth(scene: Scene) -> Truth:
    return Truth(scene.bootstrap, TOPIC)


def test_a_drain_moves_all_partitions_and_no_client_sees_it(scene: Scene, load: Load, truth: Truth) -> None:
    owned = scene.partitions_of("owner-0", TOPIC)
    errors_before = scene.produce_errors()
    others = ForeignLoad()
    at = time.monotonic()
    answer = scene.drain("owner-0")
    load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)

    assert {each.get("partition", 0) for each in answer["drained"] if each["topic"] == TOPIC} == owned
    assert not answer.get("pending")
    assert not scene.partitions_of("owner-0", TOPIC)
    assert scene.produce_errors() == errors_before
    assert slowest(load.times.pauses(at), owned) < PAUSE_SECONDS_MAX * others.stretch()
    assert not load.errors
    assert not scene.verdict(load, truth)
    scene.restart("owner-0")  # a drained owner gets nothing until it is started again


def test_an_owner_that_is_told_to_stop_hands_over_first(scene: Scene, load: Load, truth: Truth) -> None:
    owned = scene.wait_partitions_of("owner-1", TOPIC)
    errors_before = scene.produce_errors()
    others = ForeignLoad()
    at = time.monotonic()
    scene.stop("owner-1")
    load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)

    assert scene.produce_errors() == errors_before
    assert slowest(load.times.pauses(at), owned) < PAUSE_SECONDS_MAX * others.stretch()
    assert not load.errors
    assert not scene.verdict(load, truth)
    scene.restart("owner-1")


def test_an_owner_that_comes_back_gets_partitions_again(scene: Scene, load: Load, truth: Truth) -> None:
    """Nobody asks for it: the controller evens out, a few partitions at a time."""
    assert all(scene.wait_partitions_of(name, TOPIC) for name in ("owner-0", "owner-1", "owner-2"))
    load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)
    assert not load.errors
    assert not scene.verdict(load, truth)
