"""Where pods run: the real scheduler puts them where the spec says, and gateways tell clients of their zones.

A node of each zone, one of them kept for whoever tolerates its taint.
"""

from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient

from tests.e2e.api import MERGE, Object
from tests.e2e.clusters import OWNER, SMALL, Cluster, cluster_spec, open_cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.world import NODES, World
from tests.support.clients import create_topic
from tests.support.raw_kafka import API_METADATA, ask

NAMESPACE = "placed"
NAME = "placed"
KEPT = "node-2"
TAINT = {"key": "dedicated", "value": "kafka", "effect": "NoSchedule"}
TOLERATION = {**TAINT, "operator": "Equal"}
CLASS = "records"
PRIORITY = 1_000_000
GATEWAYS = 4
GATEWAY_ZONES = ("zone-a", "zone-b")
PARTITIONS = 12
SECONDS_MAX = 180.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def nodes(world: World) -> Iterator[None]:
    node = f"/api/v1/nodes/{KEPT}"
    kept = {"metadata": {"labels": {"disk": "fast"}}, "spec": {"taints": [TAINT]}}
    free = {"metadata": {"labels": {"disk": None}}, "spec": {"taints": None}}
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    world.call("PATCH", node, kept, content_type=MERGE)
    world.call("POST", classes, {"metadata": {"name": CLASS}, "value": PRIORITY})
    yield
    world.call("DELETE", f"{classes}/{CLASS}")
    world.call("PATCH", node, free, content_type=MERGE)


@pytest.fixture(scope="module")
def cluster(world: World, operator: str, nodes: None) -> Iterator[Cluster]:
    apart = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {
                        "matchLabels": {
                            "app.kubernetes.io/instance": NAME,
                            "app.kubernetes.io/component": "metadata",
                        }
                    },
                }
            ]
        }
    }
    spec = cluster_spec(
        NAMESPACE,
        gateway={"replicas": GATEWAYS, "resources": SMALL, "zones": list(GATEWAY_ZONES)},
        owner={
            "replicas": 2,
            "resources": SMALL,
            "nodeSelector": {"disk": "fast"},
            "tolerations": [TOLERATION],
            "priorityClassName": CLASS,
        },
        metadata={
            "replicas": 3,
            "resources": SMALL,
            "zones": sorted(NODES.values()),
            "affinity": apart,
            "tolerations": [TOLERATION],
        },
        listeners={"advertisedMode": "instance"},
    )
    with open_cluster(world, NAMESPACE, NAME, spec) as cluster:
        yield cluster


def test_pods_are_where_the_spec_says(cluster: Cluster) -> None:
    """Gateways evenly in their two zones, owners on the kept node, each replica on a node of its own."""
    assert sorted(nodes_of(cluster, "gateway")) == ["node-0", "node-0", "node-1", "node-1"]
    assert nodes_of(cluster, OWNER) == [KEPT, KEPT]
    assert sorted(nodes_of(cluster, "metadata")) == sorted(NODES)


def test_running_pods_have_the_priority_of_their_class(cluster: Cluster) -> None:
    assert {pod["spec"]["priority"] for pod in cluster.pods(OWNER)} == {PRIORITY}
    assert {pod["spec"]["priority"] for pod in cluster.pods("gateway")} == {0}


def test_clients_are_told_the_zone_of_each_gateway(cluster: Cluster) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    racks = {node.host.partition(".")[0]: node.rack for node in admin.describe_cluster().result(30).nodes}
    assert racks == {pod["metadata"]["name"]: zone_of(pod) for pod in cluster.pods("gateway")}


def test_who_asks_in_a_zone_is_led_to_gateways_of_that_zone(cluster: Cluster) -> None:
    create_topic(cluster.bootstrap, "orders", PARTITIONS)
    gateways = cluster.pods("gateway")
    for pod in gateways:
        near = {each["metadata"]["name"] for each in gateways if zone_of(each) == zone_of(pod)}
        assert len(near) == GATEWAYS // len(GATEWAY_ZONES)
        assert leaders_by(pod, "orders") == near


def leaders_by(gateway: Object, topic: str) -> set[str]:
    """Those that this very gateway tells of: a client library would ask whom it likes."""
    answer = ask(f"{gateway['status']['podIP']}:9092", API_METADATA, 9, topics=[{"name": topic}])
    names = {each.node_id: each.host.partition(".")[0] for each in answer.brokers}
    (told,) = answer.topics
    assert len(told.partitions) == PARTITIONS
    return {names[each.leader_id] for each in told.partitions}


def test_records_go_through_all_of_it(cluster: Cluster) -> None:
    with cluster.load("placed"):
        pass


def test_a_zone_without_nodes_is_told_and_taken_back(cluster: Cluster) -> None:
    """One gateway waits, and the others go on; what was asked for before is there again by itself."""
    with cluster.load("nowhere"):
        cluster.change(gateway={"zones": ["zone-z"]})
        cluster.wait_told("is on no node: 0/3 nodes are available", seconds_max=SECONDS_MAX)
        assert f"{NAME}-gateway has 3 of 4 pods ready" in cluster.why_not_ready()
        cluster.change(gateway={"zones": list(GATEWAY_ZONES)})
        wait_until(
            lambda: {NODES.get(node) for node in nodes_of(cluster, "gateway")} == set(GATEWAY_ZONES),
            "every gateway is on a node",
            seconds_max=SECONDS_MAX,
        )
        cluster.wait_settled(SECONDS_MAX)


def nodes_of(cluster: Cluster, component: str) -> list[str]:
    """Of each pod; empty where none takes it."""
    return [pod["spec"].get("nodeName", "") for pod in cluster.pods(component)]


def zone_of(pod: Object) -> str:
    return NODES[pod["spec"]["nodeName"]]
