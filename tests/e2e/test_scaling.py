"""Scaling by the real HPA controller: the operator leaves the count alone, and load moves to new owners."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.api import Object
from tests.e2e.clusters import OWNER, SMALL, Cluster, cluster_spec, open_cluster, slowest
from tests.e2e.control_plane import wait_until
from tests.e2e.world import World

NAMESPACE = "scaled"
PAUSE_SECONDS_MAX = 5.0
"""A second on machines of their own: here one small machine runs everything. What it was is printed."""
AUTOSCALERS = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
# A load of some tenths of a core is far above this target: the controller wants more of them at once.
EAGER: Object = {
    "minReplicas": 1,
    "maxReplicas": 2,
    "cpuPercent": 50,
    "memoryPercent": 0,
    "scaleDownStabilizationSeconds": 5,
}

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def cluster(world: World, operator: str) -> Iterator[Cluster]:
    one = {"replicas": 1, "resources": SMALL}
    by_connections = {
        "minReplicas": 1,
        "maxReplicas": 2,
        "cpuPercent": 0,
        "memoryPercent": 0,
        "connections": 20,
    }
    gateway = {"autoscaling": by_connections, "resources": SMALL}
    owner = {"autoscaling": EAGER, "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}}}
    spec = cluster_spec(NAMESPACE, gateway=gateway, metadata=one, owner=owner)
    with open_cluster(world, NAMESPACE, "scaled", spec) as cluster:
        yield cluster


def test_load_brings_an_owner_and_partitions_go_to_it(cluster: Cluster) -> None:
    with cluster.load("busy"):
        wait_until(lambda: len(cluster.pods(OWNER)) == 2, "a second owner", seconds_max=180)
        cluster.wait_ready()
        cluster.wait_spread(2)


def test_an_owner_that_is_not_needed_goes_under_load(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """The HPA controller takes it away by itself; what it has goes to the other one first."""
    with cluster.load("calm") as (load, _):
        cluster.wait_spread(2, seconds_max=180)
        began = time.monotonic()
        cluster.change(owner={"autoscaling": {**EAGER, "cpuPercent": 100_000}})
        wait_until(lambda: len(_owners(cluster)) == 1, "one owner, and the other is gone", seconds_max=180)
        seconds = time.monotonic() - began
        load.wait_all_acknowledged_after(time.monotonic(), seconds_max=60)
        pause = slowest(load, began)
    cluster.change(owner={"autoscaling": EAGER})
    with capsys.disabled():
        sys.stdout.write(
            f"\n  measured: one of two owners gone after {seconds:.0f} s, longest pause {pause:.2f} s"
        )
    assert pause < PAUSE_SECONDS_MAX


def _owners(cluster: Cluster) -> list[Object]:
    """Also those that are going."""
    labels = f"app.kubernetes.io/component={OWNER},app.kubernetes.io/instance={cluster.name}"
    return cluster.world.listed(f"/api/v1/namespaces/{NAMESPACE}/pods", labels)


def test_connections_bring_a_gateway(cluster: Cluster) -> None:
    """By our own metric, as a metrics adapter serves it."""
    host, _, port = cluster.bootstrap.rpartition(":")
    with ExitStack() as connections:
        for _ in range(50):
            connections.enter_context(socket.create_connection((host, int(port)), timeout=30))
        try:
            wait_until(lambda: len(cluster.pods("gateway")) == 2, "a second gateway", seconds_max=60)
        except AssertionError as error:
            raise AssertionError(
                f"{error}; {cluster.world.call('GET', AUTOSCALERS + '/scaled-gateway')['status']}"
            ) from error


def test_the_operator_never_writes_the_count(cluster: Cluster) -> None:
    assert "kafscale-operator" not in _managers_of_count(cluster)
    cluster.change(owner={"autoscaling": {**EAGER, "scaleDownStabilizationSeconds": 6}})
    cluster.wait_ready()  # by a look at the newest spec
    assert "kafscale-operator" not in _managers_of_count(cluster)


def _managers_of_count(cluster: Cluster) -> list[str]:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/scaled-partition-owner"
    return [
        each["manager"]
        for each in cluster.world.call("GET", path)["metadata"]["managedFields"]
        if "f:replicas" in each["fieldsV1"].get("f:spec", {})
    ]
