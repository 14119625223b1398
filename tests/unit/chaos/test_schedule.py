"""Schedules follow from their seeds, leave nothing out, and hold their lanes apart."""

import itertools

import pytest

from tests.chaos.schedule import CONNECTIONS, KINDS, PAIRS, PROCESSES, schedule


def test_one_seed_is_one_schedule() -> None:
    assert schedule(7, 600) == schedule(7, 600)
    assert schedule(7, 600) != schedule(8, 600)


@pytest.mark.parametrize("seed", range(20))
def test_ten_minutes_have_every_kind(seed: int) -> None:
    assert {fault.kind for fault in schedule(seed, 600)} == set(KINDS)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("lane", [PROCESSES, CONNECTIONS])
def test_faults_of_a_lane_follow_one_another_and_all_end(seed: int, lane: tuple[str, ...]) -> None:
    faults = [fault for fault in schedule(seed, 120) if fault.kind in lane]
    assert all(before.at + before.lasts < after.at for before, after in itertools.pairwise(faults))
    assert all(fault.at + fault.lasts <= 120 for fault in faults)


def test_kinds_can_be_chosen() -> None:
    assert {fault.kind for fault in schedule(1, 300, ["delay", "kill etcd"])} == {"delay", "kill etcd"}


def test_each_pair_is_there_once() -> None:
    assert len(set(PAIRS)) == len(PAIRS) == 2 + 6 + 10 + 2 + 3
