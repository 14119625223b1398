"""KafscaleTopics on a real cluster: adopted, in conflict, deleted with their topic or without."""

from collections.abc import Iterator

import pytest

from tests.e2e.api import MERGE, Object
from tests.e2e.clusters import SMALL, Cluster, cluster_spec, open_cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.world import World
from tests.support.clients import create_topic
from tests.support.java import must_run

NAMESPACE = "topics"
TOPICS = f"/apis/kafscale.io/v1alpha1/namespaces/{NAMESPACE}/kafscaletopics"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def cluster(world: World, operator: str) -> Iterator[Cluster]:
    one = {"replicas": 1, "resources": SMALL}
    spec = cluster_spec(NAMESPACE, gateway=one, owner=one, metadata=one)
    with open_cluster(world, NAMESPACE, "topical", spec) as cluster:
        yield cluster


def resource(name: str, **spec: object) -> Object:
    kind = {"apiVersion": "kafscale.io/v1alpha1", "kind": "KafscaleTopic", "metadata": {"name": name}}
    return {**kind, "spec": {"clusterRef": "topical", **spec}}


def topics_of(cluster: Cluster) -> list[str]:
    return must_run("kafka-topics", cluster.bootstrap, "--list").split()


def test_a_topic_that_clients_made_is_adopted_when_asked(cluster: Cluster) -> None:
    world = cluster.world
    create_topic(cluster.bootstrap, "made-by-clients", 3)
    path = f"{TOPICS}/made-by-clients"
    world.apply(path, resource("made-by-clients", partitions=3))
    told = world.wait_condition(path, "Ready", "False")
    wait_until(
        lambda: "adopt" in world.wait_condition(path, "Ready", "False")["message"],
        f"it says what to do; it said {told}",
        seconds_max=30,
    )
    world.call("PATCH", path, {"spec": {"adopt": True}}, content_type=MERGE)
    world.wait_condition(path, "Ready")
    assert world.call("GET", path)["status"]["partitions"] == 3


def test_the_second_resource_of_a_topic_is_in_conflict(cluster: Cluster) -> None:
    world = cluster.world
    world.apply(f"{TOPICS}/first", resource("first", topicName="named-twice"))
    world.wait_condition(f"{TOPICS}/first", "Ready")
    world.apply(f"{TOPICS}/second", resource("second", topicName="named-twice", partitions=9))
    told = world.wait_condition(f"{TOPICS}/second", "Conflict")
    assert "first" in told["message"]
    world.wait_condition(f"{TOPICS}/first", "Ready")
    assert world.call("GET", f"{TOPICS}/first")["status"]["partitions"] == 1


def test_deletion_keeps_the_topic_or_takes_it_along(cluster: Cluster) -> None:
    world = cluster.world
    for policy in ("retain", "delete"):
        world.apply(f"{TOPICS}/{policy}d", resource(f"{policy}d", deletionPolicy=policy))
    for policy in ("retain", "delete"):
        world.wait_condition(f"{TOPICS}/{policy}d", "Ready")
        world.call("DELETE", f"{TOPICS}/{policy}d")
    wait_until(lambda: "deleted" not in topics_of(cluster), "the topic is gone", seconds_max=60)
    assert "retaind" in topics_of(cluster)


def test_a_topic_waits_for_its_cluster(cluster: Cluster) -> None:
    world = cluster.world
    path = f"{TOPICS}/early"
    world.apply(path, {**resource("early"), "spec": {"clusterRef": "nowhere"}})
    told = world.wait_condition(path, "Ready", "False")
    assert "nowhere" in told["message"]
    world.call("DELETE", path)
    wait_until(lambda: world.get(path) is None, "it is gone", seconds_max=30)
