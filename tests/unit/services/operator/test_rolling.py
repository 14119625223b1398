"""Rolling owners: one at a time, drained first, stopped by the first that can't be."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.operator.rolling import (
    TOLD_TO_DRAIN,
    Blocked,
    Drain,
    Drained,
    DrainFailed,
    Drains,
    Idle,
    Life,
    Owners,
    Pod,
    Restart,
    Shrink,
    Wait,
    next_step,
    owners_of,
)


def pod(
    ordinal: int, *, revision: str = "old", ready: bool = True, served: bool = True, uid: str = ""
) -> Pod:
    return Pod(
        name=f"owner-{ordinal}",
        version="1",
        life=Life(uid or f"uid-{ordinal}", 0),
        ordinal=ordinal,
        revision=revision,
        ip=f"10.0.0.{ordinal}",
        ready=ready,
        deleting=False,
        served=served,
    )


def owners(*pods: Pod, replicas: int | None = None, revision: str = "new", current: bool = True) -> Owners:
    count = len(pods) if replicas is None else replicas
    return Owners(current=current, replicas=count, update_revision=revision, pods=pods)


NOTHING: Drains = {}


def test_the_highest_ordinal_is_drained_first() -> None:
    step = next_step(owners(pod(0), pod(1), pod(2)), replicas=3, drains=NOTHING)
    assert step == Drain(pod=pod(2), reason="rolling update")


def test_a_drained_pod_is_restarted() -> None:
    drains = {pod(2).life: Drained()}
    assert next_step(owners(pod(0), pod(1), pod(2)), replicas=3, drains=drains) == Restart(pod=pod(2))


def test_a_drain_that_fails_blocks_and_says_which_pod_and_why() -> None:
    drains = {pod(2).life: DrainFailed(why="nobody can take over")}
    step = next_step(owners(pod(0), pod(1), pod(2)), replicas=3, drains=drains)
    assert step == Blocked(pod=pod(2), why="nobody can take over")


def test_a_restarted_container_is_drained_again() -> None:
    drains = {pod(2).life: Drained()}
    again = replace(pod(2), life=Life("uid-2", 1))
    assert isinstance(next_step(owners(pod(0), pod(1), again), replicas=3, drains=drains), Drain)


@pytest.mark.parametrize(
    "state",
    [
        owners(pod(0), pod(1), current=False),
        owners(pod(0), pod(1), replicas=3),
        owners(pod(0), replace(pod(1, revision="new"), deleting=True)),
        owners(pod(0), pod(1, revision="new", ready=False)),
        owners(pod(0, revision="new"), pod(1, revision="new", ready=False)),
    ],
)
def test_nothing_begins_while_something_is_under_way(state: Owners) -> None:
    assert isinstance(next_step(state, replicas=state.replicas, drains=NOTHING), Wait)


def test_a_pod_that_never_served_is_replaced_without_a_drain_even_where_another_waits() -> None:
    """A revision that can't start must not be in the way of the one that repairs it."""
    broken = pod(1, revision="broken", ready=False, served=False)
    assert next_step(owners(pod(0), broken), replicas=2, drains=NOTHING) == Restart(pod=broken)


def test_one_that_is_not_ready_any_more_is_next() -> None:
    away = pod(0, ready=False)
    assert next_step(owners(away, pod(1)), replicas=2, drains=NOTHING) == Drain(
        pod=away, reason="rolling update"
    )


def test_a_single_owner_has_nobody_to_drain_to() -> None:
    assert next_step(owners(pod(0)), replicas=1, drains=NOTHING) == Restart(pod=pod(0))


def test_what_leaves_is_drained_before_the_count_is_lowered() -> None:
    state = owners(pod(0), pod(1), pod(2), revision="old")
    first = next_step(state, replicas=1, drains=NOTHING)
    assert first == Drain(pod=pod(2), reason="scale-down to 1 owners")
    second = next_step(state, replicas=1, drains={pod(2).life: Drained()})
    assert second == Drain(pod=pod(1), reason="scale-down to 1 owners")
    both = {pod(1).life: Drained(), pod(2).life: Drained()}
    assert next_step(state, replicas=1, drains=both) == Shrink(replicas=1)
    failed: Drains = {pod(2).life: DrainFailed(why="no")}
    assert next_step(state, replicas=1, drains=failed) == Blocked(pod=pod(2), why="no")


def test_an_hpas_count_is_not_ours_to_lower() -> None:
    state = owners(pod(0), pod(1), revision="old")
    assert next_step(state, replicas=None, drains=NOTHING) == Idle()


def test_one_that_was_drained_for_a_scale_down_that_was_taken_back_is_restarted() -> None:
    told = replace(pod(2), told_to_drain=True)
    state = owners(pod(0), pod(1), told, revision="old")
    assert next_step(state, replicas=3, drains={pod(2).life: Drained()}) == Restart(pod=told)
    assert next_step(state, replicas=3, drains=NOTHING) == Drain(pod=told, reason="rolling update")


def told(each: Pod) -> Pod:
    return replace(each, told_to_drain=True)


REFUSED = DrainFailed(why="nobody can take over", refused=True)


def test_what_stays_and_was_told_to_drain_is_restarted_before_anybody_leaves() -> None:
    """It takes nothing over: those that leave would have no heir."""
    state = owners(told(pod(0)), pod(1, revision="new"), pod(2, revision="new"))
    assert next_step(state, replicas=1, drains={pod(0).life: Drained()}) == Restart(pod=told(pod(0)))
    first = Drain(pod=told(pod(0)), reason="scale-down to 1 owners")
    assert next_step(state, replicas=1, drains=NOTHING) == first
    for away in (replace(pod(0), deleting=True), replace(pod(0), ready=False, served=False)):
        state = owners(away, pod(1), pod(2))
        assert isinstance(next_step(state, replicas=1, drains=NOTHING), Wait)


def test_what_stays_and_is_the_only_one_that_serves_is_in_nobodys_way() -> None:
    state = owners(told(pod(0)), told(pod(1)))
    refused: Drains = {pod(0).life: REFUSED}
    assert isinstance(next_step(state, replicas=1, drains=refused), Drain)
    assert next_step(state, replicas=1, drains={**refused, pod(1).life: Drained()}) == Shrink(replicas=1)


def test_the_drained_go_first_in_a_roll() -> None:
    state = owners(told(pod(0)), pod(1), pod(2))
    drains: Drains = {pod(0).life: Drained(), pod(2).life: REFUSED}
    assert next_step(state, replicas=3, drains=drains) == Restart(pod=told(pod(0)))


def test_a_leader_that_knows_of_no_drains_tries_each_that_was_told() -> None:
    state = owners(told(pod(0)), told(pod(1)))
    assert next_step(state, replicas=2, drains={pod(1).life: REFUSED}) == Drain(
        pod=told(pod(0)), reason="rolling update"
    )
    both: Drains = {pod(0).life: REFUSED, pod(1).life: REFUSED}
    assert isinstance(next_step(state, replicas=2, drains=both), Blocked)


@given(seed=st.integers(0, 10_000), count=st.integers(2, 6))
@settings(max_examples=200, deadline=None)
def test_a_roll_ends_with_one_away_at_a_time(seed: int, count: int) -> None:
    """Drains fail now and then, containers restart, pods take their time."""
    chance = random.Random(seed)
    pods = {ordinal: pod(ordinal) for ordinal in range(count)}
    drains: dict[Life, Drained | DrainFailed] = {}
    for turn in range(500):
        state = owners(*(pods[ordinal] for ordinal in sorted(pods)), replicas=count)
        match next_step(state, replicas=count, drains=drains):
            case Idle():
                break
            case Drain(pod=drained):
                drains[drained.life] = DrainFailed(why="no") if chance.random() < 0.3 else Drained()
                pods[drained.ordinal] = replace(drained, told_to_drain=True)
            case Blocked(pod=blocked):
                del drains[blocked.life]
            case Restart(pod=old):
                assert drains[old.life] == Drained(), "never without a drain"
                assert all(each.ready for each in pods.values() if each != old), "one at a time"
                pods[old.ordinal] = pod(old.ordinal, revision="new", ready=False, served=False, uid=f"{turn}")
            case Wait():
                for ordinal, each in pods.items():
                    if chance.random() < 0.5:
                        pods[ordinal] = replace(each, ready=True, served=True)
    else:
        raise AssertionError("the roll did not end")
    assert {each.revision for each in pods.values()} == {"new"}


def test_objects_are_read() -> None:
    stateful_set = {
        "metadata": {"uid": "set", "generation": 2},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, "updateRevision": "new"},
    }
    mine = {
        "metadata": {
            "name": "kafka-partition-owner-10",
            "uid": "u",
            "resourceVersion": "7",
            "labels": {"controller-revision-hash": "old"},
            "annotations": {TOLD_TO_DRAIN: "2"},
            "ownerReferences": [{"uid": "set", "controller": True}],
        },
        "status": {
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "proxy", "restartCount": 4, "started": False},
                {"name": "partition-owner", "restartCount": 3, "started": True},
            ],
        },
    }
    other = {"metadata": {"name": "kafka-partition-owner-1", "uid": "v"}}
    found = owners_of(stateful_set, [mine, other])
    assert found.current
    (only,) = found.pods
    assert not only.told_to_drain, "in an earlier life"
    assert (only.ordinal, only.life, only.revision, only.ready, only.served) == (
        10,
        Life("u", 3),
        "old",
        True,
        True,
    )
