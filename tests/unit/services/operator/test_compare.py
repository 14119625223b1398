"""What differs from what was applied, and what only looks so."""

from typing import Any

import pytest

from services.operator.compare import HASH, covers, stamped


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"cpu": "1"}, {"cpu": "1000m"}),
        ({"memory": "2Gi"}, {"memory": "2048Mi"}),
        ({"cpu": "500m"}, {"cpu": 0.5}),
        ([{"name": "sidecar"}, {"name": "a", "image": "x", "tty": False}], [{"name": "a", "image": "x"}]),
        ([{"port": 1, "protocol": "TCP"}], [{"port": 1}]),
        (["x", "y"], ["x", "y"]),
    ],
)
def test_what_is_no_difference(seen: Any, wanted: Any) -> None:
    assert covers(seen, wanted)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        ({}, {"a": 1}),
        ({"a": 2}, {"a": 1}),
        ({"cpu": "1"}, {"cpu": "2"}),
        ({"on": 1}, {"on": True}),
        ([{"name": "a", "image": "y"}], [{"name": "a", "image": "x"}]),
        (["x", "y"], ["x"]),
        (["y", "x"], ["x", "y"]),
        ("1x", "1"),
        (None, {}),
    ],
)
def test_what_is_one(seen: Any, wanted: Any) -> None:
    assert not covers(seen, wanted)


def test_a_field_that_is_not_wanted_any_more_shows_by_the_hash() -> None:
    more = stamped({"metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}})
    less = stamped({"metadata": {"name": "x"}, "spec": {"a": 1}})
    assert not covers(more, less)
    assert covers(less, less)
    assert set(less["metadata"]["annotations"]) == {HASH}
