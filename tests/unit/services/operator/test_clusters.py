"""A cluster from nothing to ready, with everything that the API server can do wrong."""

from typing import Any

import pytest
import trio

from libs.model.errors import Unavailable
from services.operator.conditions import PERMISSIONS_MISSING, PROGRESSING, READY
from services.operator.kinds import (
    EVENTS,
    PODS,
    SERVICES,
    STATEFUL_SETS,
    Key,
    Object,
    key_of,
)
from services.operator.namesakes import namesake_of
from tests.unit.services.operator.fake_kube import FakeKube
from tests.unit.services.operator.making import NAMESPACE, cluster_object
from tests.unit.services.operator.owning import (
    BROKER,
    CLUSTER,
    GATEWAYS,
    OWNERS,
    rolled,
    set_spec,
)
from tests.unit.services.operator.running import World, running

THEIRS: Object = {
    "apiVersion": "v1",
    "kind": BROKER.kind,
    "metadata": {"name": BROKER.name, "namespace": BROKER.namespace},
    "spec": {"type": "ClusterIP"},
}


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
