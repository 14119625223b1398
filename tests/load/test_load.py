"""Each scenario for a few seconds: memory stays in its bound, nothing ends, everything comes back by itself.

Latencies are told by `python -m tests.load`, and not judged here, but for the tail's beside a reader from
far back.
"""

from collections.abc import Iterator

import pytest

from tests.load.scenarios import (
    connections,
    metadata_store_answers_late,
    producer_faster_than_store,
    reader_from_far_back,
    store_answers_late,
    store_refuses,
)
from tests.load.scene import Scenario, Scene, open_scene, run

SECONDS = 4.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(tmp_path_factory.mktemp("load")) as scene:
        yield scene


@pytest.mark.parametrize(
    ("name", "scenario"),
    [
        ("a producer faster than the store", producer_faster_than_store),
        ("a reader from far back", reader_from_far_back),
        ("500 silent connections", connections(500, active=False)),
        ("500 busy connections", connections(500, active=True)),
        ("etcd answers in 2 s", metadata_store_answers_late),
        ("the store answers in 5 s", store_answers_late),
        ("the store answers 503", store_refuses),
    ],
)
def test_it_is_borne(scene: Scene, name: str, scenario: Scenario) -> None:
    outcome = run(scene, name, scenario, seconds=SECONDS)
    assert outcome.findings == []
