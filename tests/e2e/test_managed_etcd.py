"""A cluster whose etcd the operator runs: three members, a member lost under records, defragmentation."""

from collections.abc import Iterator

import pytest

from tests.e2e.clusters import SMALL, Cluster, cluster_spec, open_cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.world import World
from tests.support.clients import create_topic, produce_all

NAMESPACE = "managed"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def cluster(world: World, operator: str) -> Iterator[Cluster]:
    one = {"replicas": 1, "resources": SMALL}
    etcd = {"managed": {"resources": SMALL}}
    spec = cluster_spec(NAMESPACE, etcd=etcd, gateway=one, owner=one, metadata=one)
    with open_cluster(world, NAMESPACE, "managed", spec) as cluster:
        yield cluster


def test_members_are_on_nodes_of_their_own(cluster: Cluster) -> None:
    nodes = {pod["spec"]["nodeName"] for pod in cluster.pods("etcd")}
    assert len(nodes) == 3


def test_records_survive_the_loss_of_a_member(cluster: Cluster) -> None:
    world = cluster.world
    create_topic(cluster.bootstrap, "orders", 2)
    produce_all(cluster.bootstrap, "orders", [(number % 2, b"before") for number in range(20)])
    before = cluster.uids("etcd")
    world.kubectl("delete", "pod", "managed-etcd-0", "--namespace", NAMESPACE, "--wait=false")
    produce_all(cluster.bootstrap, "orders", [(number % 2, b"meanwhile") for number in range(20)])
    create_topic(cluster.bootstrap, "made-meanwhile", 1)
    wait_until(
        lambda: cluster.uids("etcd").get("managed-etcd-0") not in (None, before["managed-etcd-0"]),
        "the member is back",
        seconds_max=120,
    )
    cluster.wait_ready()


def test_defragmentation_runs(cluster: Cluster) -> None:
    world = cluster.world
    world.kubectl(
        "create", "job", "--namespace", NAMESPACE, "by-hand", "--from=cronjob/managed-etcd-defragment"
    )
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/by-hand"
    wait_until(
        lambda: (world.get(path) or {}).get("status", {}).get("succeeded"), "it succeeded", seconds_max=120
    )
