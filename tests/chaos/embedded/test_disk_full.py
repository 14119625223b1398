"""The embedded mode on a disk that fills up: it slows to a stop, it does not lie, and goes on with room."""

import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.checker import judge
from tests.chaos.full_disk import FullDisk, full_disk
from tests.chaos.load import Load, Truth, running_load, wait_until
from tests.support.background import Background, running
from tests.support.clients import create_topic
from tools.stack.embedded import Embedded, open_embedded

TOPIC = "orders"
PARTITIONS = 8
FULL_SECONDS = 4.0
RECOVERY_SECONDS_MAX = 60.0


@pytest.fixture(params=[True, False], ids=["small-disk", "size-limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FullDisk]:
    with full_disk(tmp_path / "disk", may_mount=request.param) as disk:
        yield disk


@pytest.fixture
def platform(disk: FullDisk) -> Iterator[Background[Embedded]]:
    with running(partial(open_embedded, disk.directory / "data")) as platform:
        yield platform


def _pid(platform: Background[Embedded]) -> int:
    assert platform.value.child.pid is not None
    return platform.value.child.pid


def _acknowledged(load: Load) -> None:
    load.wait_all_acknowledged_after(time.monotonic(), seconds_max=RECOVERY_SECONDS_MAX)


def _fill(disk: FullDisk, platform: Background[Embedded], load: Load) -> None:
    """Until no more is acknowledged."""
    disk.fill(_pid(platform))

    def stands_still() -> bool:
        before = len(load.history.acks)
        time.sleep(1.0)  # what is looked for is that nothing happens
        return len(load.history.acks) == before

    wait_until(stands_still, seconds_max=RECOVERY_SECONDS_MAX)


def _check(platform: Background[Embedded], load: Load) -> None:
    load.end_producing()
    ends = load.ledger.ends()
    load.wait_read(ends, seconds_max=RECOVERY_SECONDS_MAX)
    truth = Truth(platform.value.bootstrap, TOPIC)
    truth.read_on(ends, seconds_max=RECOVERY_SECONDS_MAX)
    assert not judge(load.history, truth.found, is_over=True)
    assert not load.errors


def test_a_full_disk_stops_produce_until_there_is_room(
    disk: FullDisk, platform: Background[Embedded]
) -> None:
    create_topic(platform.value.bootstrap, TOPIC, PARTITIONS)
    with running_load(platform.value.bootstrap, TOPIC, group="readers") as load:
        _acknowledged(load)
        _fill(disk, platform, load)
        time.sleep(FULL_SECONDS)
        disk.make_room(_pid(platform))
        _acknowledged(load)
        _check(platform, load)


def test_a_group_that_forms_on_a_full_disk_reads_everything_once_there_is_room(
    disk: FullDisk, platform: Background[Embedded]
) -> None:
    """Its members join while nothing can be stored: their claim, their generation, their first commits."""
    create_topic(platform.value.bootstrap, TOPIC, PARTITIONS)
    disk.fill(_pid(platform))
    with running_load(platform.value.bootstrap, TOPIC, group="readers") as load:
        time.sleep(FULL_SECONDS)
        disk.make_room(_pid(platform))
        _acknowledged(load)
        _check(platform, load)


def test_kill_9_on_a_full_disk_loses_nothing(disk: FullDisk, platform: Background[Embedded]) -> None:
    create_topic(platform.value.bootstrap, TOPIC, PARTITIONS)
    with running_load(platform.value.bootstrap, TOPIC, group="readers") as load:
        _acknowledged(load)
        _fill(disk, platform, load)
        platform.value.child.send(signal.SIGKILL)
        platform.call(platform.value.child.wait_ended)
        disk.make_room(None)
        platform.call(platform.value.start)
        _acknowledged(load)
        _check(platform, load)
