"""A cluster from nothing to rolled, with everything that the API server and the owners can do wrong."""

from collections.abc import Mapping
from typing import Any

import pytest
import trio

from libs.model.errors import Fenced, NotFound, Reason, Unavailable
from services.operator.conditions import PERMISSIONS_MISSING, PROGRESSING, READY, ROLL_BLOCKED
from services.operator.kinds import (
    AUTOSCALERS,
    CLUSTERS,
    DISRUPTION_BUDGETS,
    EVENTS,
    PODS,
    SERVICE_MONITORS,
    SERVICES,
    STATEFUL_SETS,
    Key,
    Object,
    key_of,
)
from services.operator.kube import HANDOVER_MANAGER, MANAGER
from services.operator.namesakes import namesake_of
from services.operator.render.common import MANAGED_BY_LABEL
from tests.unit.services.operator.fake_kube import FakeControllers, FakeKube
from tests.unit.services.operator.making import NAMESPACE, cluster_object
from tests.unit.services.operator.running import DrainingOwners, World, running

CLUSTER = Key(CLUSTERS.kind, NAMESPACE, "kafka")
OWNERS = Key(STATEFUL_SETS.kind, NAMESPACE, "kafka-partition-owner")
GATEWAYS = Key(STATEFUL_SETS.kind, NAMESPACE, "kafka-gateway")
BROKER = Key(SERVICES.kind, NAMESPACE, "kafka-broker")
THEIRS: Object = {
    "apiVersion": "v1",
    "kind": BROKER.kind,
    "metadata": {"name": BROKER.name, "namespace": BROKER.namespace},
    "spec": {"type": "ClusterIP"},
}


def set_spec(world: World, **fields: Any) -> None:
    def change(item: Object) -> None:
        item["spec"].update(fields)

    world.kube.change(CLUSTER, change)


def set_replicas(world: World, replicas: int) -> None:
    """As the owners' HPA does."""

    def change(item: Object) -> None:
        item["spec"]["replicas"] = replicas

    world.kube.change(OWNERS, change, manager="kube-controller-manager")


def owner_uids(world: World) -> dict[str, str]:
    owners = world.controllers.pods(world.kube.objects()[OWNERS])
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in owners}


def restarted(world: World, before: dict[str, str]) -> set[str]:
    return {name for name, uid in owner_uids(world).items() if before.get(name) != uid}


def owner_revisions(world: World) -> set[str]:
    owners = world.controllers.pods(world.kube.objects()[OWNERS])
    return {pod["metadata"]["labels"]["controller-revision-hash"] for pod in owners}


def rolled(world: World) -> bool:
    """Every owner runs the image that the cluster names."""
    image = world.kube.objects()[CLUSTER]["spec"]["image"]
    owners = world.kube.objects()[OWNERS]
    current = owners["spec"]["template"]["spec"]["containers"][0]["image"] == image
    return current and owner_revisions(world) == {world.controllers.revision(owners)}


async def test_a_cluster_is_made_and_then_nothing_more_is_written(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        status = world.kube.objects()[CLUSTER]["status"]
        assert status["owners"] == "3/3"
        assert status["observedGeneration"] == 1
        world.kube.writes.clear()
        await world.settle(900)  # three resyncs
        assert [key for _verb, key in world.kube.writes if key.kind != "Lease"] == []


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


def events(world: World) -> list[tuple[str, str]]:
    found = world.kube.objects(EVENTS).values()
    return [(each["reason"], each["message"]) for each in found]


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


async def test_missing_permissions_are_a_condition_that_says_which(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.forbidden = {"patch statefulsets", "list poddisruptionbudgets"}
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(PERMISSIONS_MISSING))
        message = world.condition(PERMISSIONS_MISSING)["message"]
        assert "patch statefulsets" in message
        assert "list poddisruptionbudgets" in message
        assert BROKER in world.kube.objects(), "the rest is made"
        world.kube.forbidden = set()
        await world.wait(lambda: world.holds(READY) and not world.holds(PERMISSIONS_MISSING))


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


async def test_an_api_server_that_restarts_and_forgets(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        world.kube.down = True
        world.kube.break_watches()
        await world.settle(5)
        world.kube.down = False
        world.kube.compact()
        world.kube.conflicts = 5
        set_spec(world, image="kafscale:next")
        world.kube.remove(BROKER)
        await world.wait(lambda: rolled(world))
        await world.wait(lambda: BROKER in world.kube.objects())


async def test_somebody_elses_service_is_named_and_left_alone(autojump_clock: object) -> None:
    async with running() as world:
        before = world.kube.put(THEIRS)
        world.kube.put(cluster_object())
        await world.wait(lambda: world.condition(READY)["reason"] == "NameTaken")
        await world.settle()
        assert "Service default/kafka-broker" in world.condition(READY)["message"]
        assert world.kube.objects()[BROKER] == before


class OnceUnreadable(FakeKube):
    """The API server fails the first time that one object is asked for."""

    asked = False

    async def get(self, key: Key) -> Object:
        if key == BROKER and not self.asked:
            self.asked = True
            raise Unavailable("etcdserver: request timed out")
        return await super().get(key)


async def test_somebody_elses_service_that_could_not_be_read_is_left_alone(autojump_clock: object) -> None:
    kube = OnceUnreadable()
    async with running(World(kube)) as world:
        before = world.kube.put(THEIRS)
        world.kube.put(cluster_object())
        await world.wait(lambda: world.condition(READY)["reason"] == "NameTaken")
        assert kube.asked
        assert world.kube.objects()[BROKER] == before


async def test_a_namesake_on_the_same_etcd_is_left_alone_until_the_older_one_is_gone(
    autojump_clock: object,
) -> None:
    """Both would have the same keys: their owners would serve each other's partitions from two buckets."""
    async with running() as world:
        older = cluster_object()
        older["metadata"] |= {
            "namespace": "other",
            "uid": "older",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        world.kube.put(older)
        younger = cluster_object()
        younger["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
        world.kube.put(younger)
        await world.wait(lambda: world.condition(READY)["reason"] == "NameTaken")
        assert "namespace other" in world.condition(READY)["message"]
        await world.settle(90)
        assert OWNERS not in world.kube.objects()
        assert Key(STATEFUL_SETS.kind, "other", OWNERS.name) in world.kube.objects()
        await world.kube.delete(key_of(older), uid="older")
        await world.wait(lambda: world.holds(READY))


def two_clusters(**other_etcd: Any) -> tuple[Object, Object]:
    """The younger one on http://etcd:2379, and an older one of its name in another namespace."""
    item, other = cluster_object(), cluster_object()
    item["spec"]["etcd"] = {"endpoints": ["http://etcd:2379"]}
    item["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    other["spec"]["etcd"] = other_etcd
    other["metadata"] |= {
        "namespace": "other",
        "uid": "other",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return item, other


@pytest.mark.parametrize(
    ("etcd", "taken"),
    [
        ({"endpoints": ["http://ETCD:2379/"]}, True),
        ({"endpoints": ["http://etcd-1:2379", "http://etcd:2379"]}, True),
        ({"endpoints": ["http://third:2379"]}, False),
        ({"managed": {}}, False),
    ],
)
def test_which_clusters_are_namesakes(etcd: dict[str, Any], *, taken: bool) -> None:
    item, other = two_clusters(**etcd)
    assert bool(namesake_of(item, [item, other], set())) is taken
    assert not namesake_of(other, [item, other], set()), "the older one has the name"
    both = {NAMESPACE, "other"}
    assert bool(namesake_of(item, [item, other], both)) is taken


def test_who_runs_has_the_name() -> None:
    """The older one's endpoints were edited: it may not come into what the younger one has."""
    item, other = two_clusters(endpoints=["http://etcd:2379"])
    assert not namesake_of(item, [item, other], {NAMESPACE})
    assert namesake_of(other, [item, other], {NAMESPACE}) == NAMESPACE


def test_who_is_gone_has_the_name_until_its_last_pod_is() -> None:
    item, _ = two_clusters()
    assert namesake_of(item, [item], {"other"}) == "other"
    assert not namesake_of(item, [item], {"other", NAMESPACE}), "it runs already"
    assert not namesake_of(item, [item], set())


@pytest.mark.parametrize(
    ("external", "port"),
    [
        ({"type": "LoadBalancer", "host": "kafka.example.com", "port": 443}, 443),
        ({"type": "NodePort", "host": "kafka.example.com", "port": 30092}, 9092),
    ],
)
async def test_the_bootstrap_address_is_one_that_listens(
    autojump_clock: object, external: Object, port: int
) -> None:
    async with running() as world:
        world.kube.put(cluster_object({"listeners": {"external": external}}))
        await world.wait(lambda: world.holds(READY))
        assert world.kube.objects()[BROKER]["spec"]["ports"][0]["port"] == port
        assert world.kube.objects()[CLUSTER]["status"]["bootstrap"] == f"kafka-broker.default.svc:{port}"


@pytest.mark.parametrize("name", ["dbg", "gateway-debug-40"])
async def test_a_pod_with_a_gateways_labels_is_no_gateway(autojump_clock: object, name: str) -> None:
    """As `kubectl debug --copy-to --keep-labels` makes one."""
    async with running() as world:
        external = {"host": "k{index}.example.com"}
        world.kube.put(cluster_object({"listeners": {"advertisedMode": "instance", "external": external}}))
        await world.wait(lambda: world.holds(READY) and not world.holds(PROGRESSING))
        services = set(world.kube.objects(SERVICES))
        copied = world.controllers.pods(world.kube.objects()[GATEWAYS])[0]
        labels = copied["metadata"]["labels"]
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "ownerReferences": []}
        world.kube.put({"apiVersion": "v1", "kind": PODS.kind, "metadata": metadata})
        set_spec(world, image="kafscale:next")
        await world.wait(lambda: rolled(world))
        assert set(world.kube.objects(SERVICES)) == services


async def test_while_gateways_can_not_be_seen_their_services_stay(autojump_clock: object) -> None:
    async with running() as world:
        external = {"host": "k{index}.example.com"}
        listeners = {"advertisedMode": "instance", "external": external}
        world.kube.put(cluster_object({"listeners": listeners, "gateway": {"replicas": 3}}))
        await world.wait(lambda: world.holds(READY))
        services = set(world.kube.objects(SERVICES))
        world.kube.forbidden = {"list pods", "watch pods"}
        world.kube.break_watches()
        await world.settle(60)
        set_spec(world, gateway={"replicas": 2})
        await world.settle(60)
        assert set(world.kube.objects(SERVICES)) == services
        world.kube.forbidden = set()
        await world.wait(lambda: len(world.kube.objects(SERVICES)) == len(services) - 1)


async def test_a_gateway_keeps_its_own_service_until_it_is_gone(autojump_clock: object) -> None:
    third = Key(SERVICES.kind, NAMESPACE, "kafka-gateway-2")
    async with running() as world:
        external = {"host": "k{index}.example.com"}
        listeners = {"advertisedMode": "instance", "external": external}
        world.kube.put(cluster_object({"listeners": listeners, "gateway": {"replicas": 3}}))
        await world.wait(lambda: world.holds(READY))
        assert third in world.kube.objects()
        set_spec(world, gateway={"replicas": 2})
        await trio.sleep(60)  # the gateway drains: its controller takes no step meanwhile
        assert world.kube.objects()[GATEWAYS]["spec"]["replicas"] == 2
        assert third in world.kube.objects()
        await world.wait(lambda: third not in world.kube.objects())
        assert third._replace(kind=PODS.kind) not in world.kube.objects()


async def test_a_spec_that_can_not_be_obeyed_is_a_condition(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object({"etcd": {}}))
        await world.wait(lambda: world.condition(READY)["reason"] == "InvalidSpec")
        assert "etcd.endpoints or etcd.managed" in world.condition(READY)["message"]


async def test_a_spec_that_can_not_be_obeyed_leaves_the_bootstrap_address(autojump_clock: object) -> None:
    async with running() as world:
        external = {"host": "kafka.example.com", "port": 443}
        world.kube.put(cluster_object({"listeners": {"external": external}}))
        await world.wait(lambda: world.holds(READY))
        set_spec(world, etcd={})
        await world.wait(lambda: world.condition(READY)["reason"] == "InvalidSpec")
        assert world.kube.objects()[CLUSTER]["status"]["bootstrap"] == "kafka-broker.default.svc:443"


async def test_a_cluster_that_is_deleted_takes_its_objects_along(autojump_clock: object) -> None:
    async with running() as world:
        world.kube.put(cluster_object())
        await world.wait(lambda: world.holds(READY))
        world.kube.delete_now(CLUSTER)
        await world.settle()
        assert {key.kind for key in world.kube.objects()} <= {"Lease", EVENTS.kind}
