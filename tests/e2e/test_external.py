"""Clients outside of Kubernetes: by one balancer, by a port of a node, by a balancer of each gateway.

One cluster goes through all of it: what a Service was may not stand in the way of what it becomes.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from confluent_kafka.admin import AdminClient

from tests.chaos.load import Load
from tests.e2e.api import Object
from tests.e2e.clusters import SMALL, Cluster, cluster_spec, metric_of, open_cluster, slowest
from tests.e2e.control_plane import wait_until
from tests.e2e.network import HOST_IP
from tests.e2e.node.balancers import HOST_NAME
from tests.e2e.world import World

NAMESPACE = "outside"
NAME = "ext"
HOST = "kafka.example.com"
PORT = 19092
NODE_PORT, NO_NODE_PORT = 30092, 9092
EACH = "kafka-{index}.example.com"
CONNECTIONS = 25
"""More than the operator, probes and clients have at a gateway that nobody uses."""
GATEWAYS_AT_FIRST = 2
PAUSE_SECONDS_MAX = 5.0
"""A second on machines of their own: here one small machine runs everything. What it was is printed."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def cluster(world: World, operator: str) -> Iterator[Cluster]:
    one = {"replicas": 1, "resources": SMALL}
    external = {"host": HOST, "port": PORT, "annotations": {HOST_NAME: HOST}}
    gateway = {"replicas": GATEWAYS_AT_FIRST, "resources": SMALL}
    spec = cluster_spec(NAMESPACE, gateway=gateway, owner=one, metadata=one, listeners={"external": external})
    with open_cluster(world, NAMESPACE, NAME, spec) as cluster:
        yield cluster


def test_one_balancer_for_all_gateways(cluster: Cluster, told: list[str]) -> None:
    wait_until(lambda: balancers_of(cluster, f"{NAME}-broker"), "it has a balancer", seconds_max=30)
    cluster.outside = f"{HOST}:{PORT}"
    assert brokers_of(cluster) == {(HOST, PORT)}
    with cluster.load("balanced") as (load, _):
        pause = replace_a_gateway(cluster, load)
        told.append(f"by one balancer, {len(load.ledger)} records, a gateway replaced, pause {pause:.2f} s")
    assert pause < PAUSE_SECONDS_MAX


def test_a_node_port_that_kubernetes_refuses_is_told_and_changes_nothing(cluster: Cluster) -> None:
    before = cluster.uids("gateway")
    cluster.change(listeners={"external": {"type": "NodePort", "host": HOST_IP, "port": NO_NODE_PORT}})
    cluster.wait_told("not in the valid range", seconds_max=60)
    assert brokers_of(cluster) == {(HOST, PORT)}
    with cluster.load("as-before"):
        pass
    assert cluster.uids("gateway") == before


def test_a_port_of_a_node(cluster: Cluster, told: list[str]) -> None:
    """The balancer is given back, and nobody is told of it any more."""
    change_listeners(
        cluster,
        external={"type": "NodePort", "host": HOST_IP, "port": NODE_PORT, "annotations": {HOST_NAME: None}},
    )
    cluster.outside = f"{HOST_IP}:{NODE_PORT}"
    assert brokers_of(cluster) == {(HOST_IP, NODE_PORT)}
    wait_until(lambda: not balancers_of(cluster, f"{NAME}-broker"), "no balancer is left", seconds_max=30)
    with cluster.load("by-node") as (load, _):
        pause = replace_a_gateway(cluster, load)
        told.append(f"by a node port, {len(load.ledger)} records, a gateway replaced, pause {pause:.2f} s")
    assert pause < PAUSE_SECONDS_MAX


def test_a_balancer_of_each_gateway(cluster: Cluster, told: list[str]) -> None:
    """Named apart by one annotation; a third gateway gets its own, and takes it along when it goes."""
    external = {"type": "LoadBalancer", "host": EACH, "port": PORT, "annotations": {HOST_NAME: EACH}}
    change_listeners(cluster, advertisedMode="instance", external=external)
    cluster.outside = f"{EACH.format(index='broker')}:{PORT}"
    wait_until(lambda: brokers_of(cluster) == of_each(2), "each of two is told", seconds_max=60)
    assert len({balancers_of(cluster, f"{NAME}-{name}")[0] for name in service_names(2)}) == 3
    for pod in cluster.pods("gateway"):
        holds_only_its_own(cluster, pod)
    with cluster.load("by-each") as (load, _):
        pause = replace_a_gateway(cluster, load)
        cluster.change(gateway={"replicas": 3})
        wait_until(lambda: brokers_of(cluster) == of_each(3), "each of three is told", seconds_max=120)
        cluster.change(gateway={"replicas": GATEWAYS_AT_FIRST})
        wait_until(lambda: brokers_of(cluster) == of_each(2), "two are told again", seconds_max=120)
        third = f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}-gateway-2"
        wait_until(lambda: cluster.world.get(third) is None, "its Service is gone", seconds_max=120)
        told.append(
            f"by a balancer each, {len(load.ledger)} records, a gateway replaced, pause {pause:.2f} s"
        )
    assert pause < PAUSE_SECONDS_MAX


def test_nobody_comes_in_from_outside_again(cluster: Cluster) -> None:
    """Without `external` the Service is one inside only: no node port, no balancer of it is left."""
    change_listeners(cluster, advertisedMode="service", external=None)
    cluster.outside = ""
    assert brokers_of(cluster) == {(f"{NAME}-broker.{NAMESPACE}.svc", 9092)}
    found = cluster.world.listed(f"/api/v1/namespaces/{NAMESPACE}/services")
    assert {each["spec"]["type"] for each in found} == {"ClusterIP"}
    assert not [port for each in found for port in each["spec"]["ports"] if "nodePort" in port]
    assert not [each for each in found if each["status"].get("loadBalancer")]
    with cluster.load("inside-again"):
        pass


def change_listeners(cluster: Cluster, **listeners: object) -> None:
    """Until gateways that tell clients so have taken over."""
    before = cluster.uids("gateway")
    cluster.change(listeners=listeners)
    wait_until(lambda: cluster.all_new("gateway", before), "every gateway is new", seconds_max=180)
    cluster.wait_settled(120)


def replace_a_gateway(cluster: Cluster, load: Load) -> float:
    """The longest pause of a partition meanwhile, in seconds."""
    began = time.monotonic()
    before = cluster.uids("gateway")
    pod = f"{NAME}-gateway-0"
    cluster.world.kubectl("delete", "pod", pod, "--namespace", NAMESPACE)
    wait_until(
        lambda: cluster.uids("gateway").get(pod) not in (None, before[pod]), "it is new", seconds_max=120
    )
    cluster.wait_ready()
    load.wait_all_acknowledged_after(time.monotonic(), seconds_max=60)
    return slowest(load, began)


def brokers_of(cluster: Cluster) -> set[tuple[str | None, int]]:
    """As a client is told them that knows no more than where it begins."""
    told = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(timeout=30)
    return {(broker.host, broker.port) for broker in told.brokers.values()}


def of_each(gateways: int) -> set[tuple[str | None, int]]:
    return {(EACH.format(index=index), PORT) for index in range(gateways)}


def service_names(gateways: int) -> list[str]:
    return ["broker", *(f"gateway-{index}" for index in range(gateways))]


def balancers_of(cluster: Cluster, service: str) -> list[str]:
    found = cluster.world.call("GET", f"/api/v1/namespaces/{NAMESPACE}/services/{service}")
    return [each["ip"] for each in found["status"]["loadBalancer"].get("ingress") or ()]


def holds_only_its_own(cluster: Cluster, pod: Object) -> None:
    """Connections to the name of a gateway are at that gateway, and none of them at another."""
    name = pod["metadata"]["name"]
    address = (EACH.format(index=name.rpartition("-")[2]), PORT)
    AdminClient({"bootstrap.servers": f"{address[0]}:{PORT}"}).list_topics(timeout=30)
    with ExitStack() as connections:
        for _ in range(CONNECTIONS):
            connections.enter_context(socket.create_connection(address, timeout=30))
        wait_until(lambda: name in crowded(cluster), f"all are at {name}", seconds_max=30)
        assert crowded(cluster) == {name}
    wait_until(lambda: not crowded(cluster), "they are gone", seconds_max=30)


def crowded(cluster: Cluster) -> set[str]:
    """Gateways that have as many connections as are made to one."""
    connections = {
        pod["metadata"]["name"]: metric_of(pod, "kafscale_active_connections")
        for pod in cluster.pods("gateway")
    }
    return {name for name, count in connections.items() if count >= CONNECTIONS}
