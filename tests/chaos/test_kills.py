"""Every process is killed in turn under a steady load: what was acknowledged is there, in order, once."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.load import Load, Truth
from tests.chaos.scene import (
    LEASE_SECONDS,
    READ_SECONDS_MAX,
    RECOVERY_SECONDS_MAX,
    Killed,
    Scene,
    scene_under_load,
    slowest,
)
from tools.stack.layout import METADATA

TOPIC = "kills"
TAKEOVER_SECONDS_MAX = LEASE_SECONDS + 1.0


@pytest.fixture(scope="module")
def load(scene: Scene) -> Iterator[Load]:
    with scene_under_load(scene, TOPIC) as load:
        yield load


@pytest.fixture(scope="module")
def truth(scene: Scene) -> Truth:
    return Truth(scene.bootstrap, TOPIC)


def _always(name: str) -> Callable[[Scene], str]:
    return lambda _scene: name


def _controller(scene: Scene) -> str:
    return scene.controller()


def _other_replica(scene: Scene) -> str:
    return next(name for name in METADATA if name != scene.controller())


VICTIMS = [
    pytest.param(_always("owner-2"), id="owner"),
    pytest.param(_always("gateway-1"), id="gateway"),
    pytest.param(_controller, id="controller"),
    pytest.param(_other_replica, id="replica"),
    pytest.param(_always("etcd"), id="etcd"),
    pytest.param(_always("minio"), id="minio"),
]


def _holds(scene: Scene, load: Load, truth: Truth) -> None:
    assert not load.errors
    assert not scene.verdict(load, truth)


@pytest.mark.parametrize("victim", VICTIMS)
def test_kill_9_loses_nothing(scene: Scene, load: Load, truth: Truth, victim: Callable[[Scene], str]) -> None:
    name = victim(scene)
    killed = scene.kill(name, TOPIC)
    assert killed.in_flight
    _come_back(scene, load, killed)
    _holds(scene, load, truth)


@pytest.mark.parametrize("victim", VICTIMS)
def test_sigterm_loses_nothing(
    scene: Scene, load: Load, truth: Truth, victim: Callable[[Scene], str]
) -> None:
    name = victim(scene)
    stopped = scene.terminate(name, TOPIC)
    assert stopped.in_flight
    _come_back(scene, load, stopped)
    _holds(scene, load, truth)


def _come_back(scene: Scene, load: Load, ended: Killed) -> None:
    """Services are missed first, to show that the others do without; then the process is started again."""
    if ended.name == "minio":
        scene.restart(ended.name)
    load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)
    if ended.name in METADATA or ended.name == "etcd":
        # Promise 6: the data path needs neither.
        assert slowest(load.times.pauses(ended.at)) < LEASE_SECONDS
    if ended.partitions:
        assert slowest(load.times.pauses(ended.at), ended.partitions) < TAKEOVER_SECONDS_MAX
    if ended.name != "minio":
        scene.restart(ended.name)
    load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)


def test_an_owner_that_sleeps_beyond_its_lease_hurts_nobody_when_it_wakes(
    scene: Scene, load: Load, truth: Truth
) -> None:
    """Promise 5. Its process is there and silent, a PUT on its way: only the lease tells that it is gone."""
    with scene.paused_owner("owner-0", TOPIC) as paused:
        scene.wait_taken_over("owner-0", paused.partitions, TOPIC)
        load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)
        _holds(scene, load, truth)
    scene.wait_partitions_of("owner-0", TOPIC)  # it noticed, began a new session and was given some again
    load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)
    _holds(scene, load, truth)


def test_in_the_end_all_of_it_is_read_again_and_the_group_has_read_it_too(scene: Scene, load: Load) -> None:
    ends = load.ledger.ends()
    _holds(scene, load, Truth(scene.bootstrap, TOPIC))
    load.wait_read(ends, seconds_max=READ_SECONDS_MAX)
    assert not load.errors
