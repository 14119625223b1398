"""Owners of a cluster are rolled and scaled, with everything that the API server and they can do wrong."""

from collections.abc import Mapping

import pytest
import trio

from libs.model.errors import Fenced, NotFound, Reason
from services.operator.conditions import PERMISSIONS_MISSING, PROGRESSING, READY, ROLL_BLOCKED
from services.operator.kinds import (
    AUTOSCALERS,
    DISRUPTION_BUDGETS,
    EVENTS,
    PODS,
    SERVICE_MONITORS,
    Key,
    Object,
)
from services.operator.kube import HANDOVER_MANAGER, MANAGER
from services.operator.render.common import MANAGED_BY_LABEL
from tests.unit.services.operator.fake_kube import FakeControllers, FakeKube
from tests.unit.services.operator.making import NAMESPACE, cluster_object
from tests.unit.services.operator.owning import (
    OWNERS,
    events,
    owner_uids,
    restarted,
    rolled,
    set_replicas,
    set_spec,
)
from tests.unit.services.operator.running import DrainingOwners, World, running


async def test_a_roll_drains_each_owner_before_it_goes(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        addresses = {f"{pod['status']['podIP']}:9093" for pod in world.kube.objects(PODS).values()}
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: rolled(world) and not world.holds(PROGRESSING))
        assert len(world.owners.drained) == 3
        assert set(world.owners.drained) <= addresses
        assert world.holds(READY)


async def test_what_is_done_to_owners_is_told_by_events(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: rolled(world) and not world.holds(PROGRESSING))
        told = events(world)
        for owner in owner_uids(world):
            assert ("OwnerDraining", f"{owner}: rolling update") in told
            assert ("OwnerDrained", owner) in told
            assert ("OwnerRestarted", owner) in told
        set_spec(world, owner={"replicas": 2})
        await world.wait(lambda: len(owner_uids(world)) == 2)
        told = events(world)
        assert ("OwnerDraining", "kafka-partition-owner-2: scale-down to 2 owners") in told
        assert told.count(("OwnersScaledDown", "3 to 2")) == 1


async def test_a_drain_that_fails_stops_the_roll_and_says_so(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        before = owner_uids(world)
        world.owners.failing = "no other owner is live"
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: world.holds(ROLL_BLOCKED))
        await world.settle(300)
        blocked = world.condition(ROLL_BLOCKED)
        assert blocked["message"] == "pod kafka-partition-owner-2 was not drained: no other owner is live"
        assert owner_uids(world) == before, "no owner was touched"
        assert any(event["reason"] == "DrainFailed" for event in world.kube.objects(EVENTS).values())
        world.owners.failing = None
        await world.wait(lambda: rolled(world) and not world.holds(ROLL_BLOCKED))


async def test_a_scale_down_drains_what_leaves_first(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        world.owners.failing = "not now"
        set_spec(world, owner={"replicas": 1})
        await world.wait(lambda: world.holds(ROLL_BLOCKED))
        assert world.kube.objects()[OWNERS]["spec"]["replicas"] == 3
        world.owners.failing = None
        await world.wait(lambda: world.kube.objects()[OWNERS]["spec"]["replicas"] == 1)
        assert len(world.owners.drained) == 2


@pytest.mark.parametrize("before", [2, 3])
async def test_a_scale_down_to_the_owner_that_is_being_rolled_ends(
    autojump_clock: object, before: int
) -> None:
    world = World(FakeKube())
    world.owners = owners = DrainingOwners(world.kube)
    async with running(world):
        world.kube.put(cluster_object({"owner": {"replicas": before}}))
        await world.wait(lambda: world.holds(READY))

        def scale_down(pod: str) -> None:
            if pod.endswith("-0"):
                owners.on_drain = lambda pod: None
                set_spec(world, owner={"replicas": 1})

        owners.on_drain = scale_down
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: len(owner_uids(world)) == 1 and rolled(world))
        await world.settle()
        assert not world.holds(ROLL_BLOCKED)
        assert len(owners.drained) == 2 * before - 1


async def test_an_owner_that_nobody_takes_over_from_was_not_told_to_drain(autojump_clock: object) -> None:
    """It serves on, and may stay as it is when the roll is taken back."""
    world = World(FakeKube())
    world.owners = owners = DrainingOwners(world.kube)
    async with running(world):
        world.kube.put(cluster_object({"image": "kafscale:old", "owner": {"replicas": 2}}))
        await world.wait(lambda: world.holds(READY))
        before = owner_uids(world)
        pod = world.kube.objects()[Key(PODS.kind, NAMESPACE, f"{OWNERS.name}-0")]
        owners.drained.append(f"{pod['status']['podIP']}:9093")  # by hand
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: world.holds(ROLL_BLOCKED))
        set_spec(world, image="kafscale:old")
        await world.settle()
        assert owner_uids(world) == before
        assert not world.holds(ROLL_BLOCKED)


async def test_an_owner_whose_drain_failed_is_restarted_when_it_may_stay(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        before = owner_uids(world)
        world.owners.failing = "2 partitions are not handed over yet; the hand-over goes on"
        set_spec(world, owner={"replicas": 1})
        await world.wait(lambda: world.holds(ROLL_BLOCKED))
        set_spec(world, owner={"replicas": 3})
        world.owners.failing = None
        await world.settle()
        assert restarted(world, before) == {"kafka-partition-owner-2"}
        assert not world.holds(PROGRESSING)


async def test_the_next_leader_restarts_an_owner_that_was_told_to_drain_and_may_stay(
    autojump_clock: object,
) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        before = owner_uids(world)
        set_spec(world, owner={"replicas": 2})
        await world.owners.asked.wait()
    set_spec(world, owner={"replicas": 3})
    async with running(world):
        await world.settle()
        assert restarted(world, before) == {"kafka-partition-owner-2"}
        assert not world.holds(PROGRESSING)


async def test_while_an_hpa_has_the_count_it_is_never_written(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        set_spec(world, owner={"autoscaling": {"maxReplicas": 9}})
        await world.wait(lambda: any(key.kind == "HorizontalPodAutoscaler" for key in world.kube.objects()))
        assert world.kube.objects()[OWNERS]["spec"]["replicas"] == 3
        set_replicas(world, 7)
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: rolled(world))
        assert world.kube.objects()[OWNERS]["spec"]["replicas"] == 7


class BeatenOnce(FakeKube):
    """Somebody writes the StatefulSet between the look and the hand-over of its count."""

    beaten = False

    async def apply(self, item: Object, *, manager: str = MANAGER, subresource: str = "") -> Object:
        if manager == HANDOVER_MANAGER and not self.beaten:
            self.beaten = True
            raise Fenced("the object has been modified", reason=Reason.GUARD_FAILED)
        return await super().apply(item, manager=manager, subresource=subresource)


async def test_a_count_whose_hand_over_meets_a_conflict_is_not_dropped(autojump_clock: object) -> None:
    kube = BeatenOnce()
    async with running(World(kube)) as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        set_spec(world, owner={"autoscaling": {"maxReplicas": 9}})
        await world.wait(lambda: kube.beaten)
        await world.settle()
        assert world.kube.objects()[OWNERS]["spec"]["replicas"] == 3
        assert len(world.controllers.pods(world.kube.objects()[OWNERS])) == 3


async def test_while_an_hpa_can_not_be_deleted_its_count_stays(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object({"owner": {"autoscaling": {"maxReplicas": 9}}}))
        await world.wait(lambda: OWNERS in world.kube.objects())
        set_replicas(world, 7)
        await world.wait(lambda: world.holds(READY))
        world.kube.forbidden = {"delete horizontalpodautoscalers"}
        set_spec(world, owner={"replicas": 8})
        await world.settle()
        assert world.kube.objects()[OWNERS]["spec"]["replicas"] == 7
        world.kube.forbidden = set()
        await world.wait(lambda: world.kube.objects()[OWNERS]["spec"]["replicas"] == 8)


async def test_an_hpa_that_may_not_be_listed_is_not_taken_for_gone(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object({"owner": {"autoscaling": {"maxReplicas": 9}}}))
        await world.wait(lambda: world.holds(READY))
        set_replicas(world, 7)
        await world.settle()
        world.kube.forbidden = {f"{verb} horizontalpodautoscalers" for verb in ("list", "watch", "delete")}
        world.kube.break_watches()
        await world.settle(60)
        set_spec(world, owner={"replicas": 8})
        await world.settle(60)
        assert world.kube.objects()[OWNERS]["spec"]["replicas"] == 7
        world.kube.forbidden -= {"delete horizontalpodautoscalers"}
        await world.wait(lambda: world.kube.objects()[OWNERS]["spec"]["replicas"] == 8)
        assert not world.kube.objects(AUTOSCALERS)


UNSEEN = [
    {"list pods", "watch pods"},
    {"list statefulsets", "watch statefulsets"},
    {"list statefulsets", "watch statefulsets", "get statefulsets"},
]


@pytest.mark.parametrize("forbidden", UNSEEN)
async def test_owners_that_may_not_be_seen_are_not_taken_for_gone(
    autojump_clock: object, forbidden: set[str]
) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        world.kube.forbidden = forbidden
        world.kube.compact()
        await world.settle()
        set_spec(world, owner={"replicas": 1})
        await world.wait(lambda: world.holds(PERMISSIONS_MISSING))
        await world.settle()
        assert len(world.owners.drained) == 3 - world.kube.objects()[OWNERS]["spec"]["replicas"]
        world.kube.forbidden = set()
        await world.wait(lambda: world.kube.objects()[OWNERS]["spec"]["replicas"] == 1)
        assert len(world.owners.drained) == 2


class NoServiceMonitors(FakeKube):
    """The Prometheus operator is not installed."""

    async def apply(self, item: Object, *, manager: str = MANAGER, subresource: str = "") -> Object:
        if item["kind"] == SERVICE_MONITORS.kind:
            raise NotFound("the server could not find the requested resource")
        return await super().apply(item, manager=manager, subresource=subresource)


async def test_owners_are_rolled_although_something_that_they_do_not_need_fails(
    autojump_clock: object,
) -> None:
    async with running(World(NoServiceMonitors())) as world:
        world.kube.forbidden = {"patch poddisruptionbudgets"}
        world.kube.put(cluster_object({"metrics": {"serviceMonitor": {"enabled": True}}}))
        await world.wait(lambda: world.condition(READY)["reason"] == "ApplyFailed")
        set_spec(world, image="kafscale:next", owner={"replicas": 2})
        await world.wait(lambda: rolled(world) and len(owner_uids(world)) == 2)
        assert len(world.owners.drained) == 3


async def test_what_owners_need_and_can_not_be_applied_stops_their_roll_and_says_so(
    autojump_clock: object,
) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        world.kube.forbidden = {"patch configmaps"}
        set_spec(world, config={"logLevel": "debug"})
        await world.wait(lambda: world.holds(ROLL_BLOCKED))
        await world.settle()
        assert world.condition(ROLL_BLOCKED)["reason"] == "ApplyFailed"
        assert "ConfigMap default/kafka-config" in world.condition(ROLL_BLOCKED)["message"]
        assert not world.holds(PROGRESSING)
        assert world.owners.drained == []
        world.kube.forbidden = set()
        await world.wait(lambda: len(world.owners.drained) == 3 and not world.holds(ROLL_BLOCKED))


async def test_an_owners_stateful_set_that_is_refused_is_said_to_stop_their_roll(
    autojump_clock: object,
) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        world.kube.forbidden = {"patch statefulsets"}
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: world.holds(ROLL_BLOCKED))
        assert f"StatefulSet default/{OWNERS.name}" in world.condition(ROLL_BLOCKED)["message"]


async def test_owners_of_a_stateful_set_that_is_left_alone_are_left_alone(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        before = owner_uids(world)

        def take(item: Object) -> None:
            del item["metadata"]["labels"][MANAGED_BY_LABEL]
            item["spec"]["template"]["spec"]["containers"][0]["image"] = "theirs"

        world.kube.change(OWNERS, take)
        await world.wait(lambda: world.condition(READY)["reason"] == "NameTaken")
        await world.settle()
        assert owner_uids(world) == before
        assert world.owners.drained == []


class Rewritten(FakeKube):
    """Another controller changes a budget back as soon as it is applied."""

    async def apply(self, item: Object, *, manager: str = MANAGER, subresource: str = "") -> Object:
        applied = await super().apply(item, manager=manager, subresource=subresource)
        if item["kind"] == DISRUPTION_BUDGETS.kind:
            await trio.sleep(1)
            self.put({**applied, "spec": {**applied["spec"], "maxUnavailable": 9}}, manager="theirs")
        return applied


async def test_a_budget_that_somebody_changes_back_for_ever_stops_no_roll(autojump_clock: object) -> None:
    async with running(World(Rewritten())) as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: rolled(world))


class ReplacedOnce(FakeKube):
    """A pod goes and is made anew between the look at it and its annotation."""

    def __init__(self) -> None:
        super().__init__()
        self.controllers = FakeControllers(self)
        self.replaced = False

    async def merge(self, key: Key, patch: Mapping[str, object]) -> Object:
        if key.kind == PODS.kind and not self.replaced:
            self.replaced = True
            self.delete_now(key)
            self.controllers.step()
        return await super().merge(key, patch)


async def test_a_pod_that_was_replaced_meanwhile_is_no_news(autojump_clock: object) -> None:
    kube = ReplacedOnce()
    async with running(World(kube)) as world:
        world.controllers = kube.controllers
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: rolled(world) and not world.holds(PROGRESSING))
        assert kube.replaced
        assert "ApplyFailed" not in {reason for reason, _message in events(world)}
