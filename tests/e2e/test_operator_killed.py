"""The operator dies between two of its steps, and the next leader ends what was begun.

Owns: a scale-down, a count that goes to an HPA and back, topics being made. A roll is in test_operator.py.
"""

import random
import time
from collections.abc import Iterator

import pytest

from tests.e2e.api import Object
from tests.e2e.clusters import OWNER, SMALL, Cluster, cluster_spec, open_cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.killing import OPERATOR, counts_seen, held_back, kill_operator
from tests.e2e.world import World
from tests.support.java import must_run

NAMESPACE = "killed"
NAME = "killed"
OWNERS = 3
TOPICS = f"/apis/kafscale.io/v1alpha1/namespaces/{NAMESPACE}/kafscaletopics"
OWNER_SET = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{NAME}-{OWNER}"
OWNER_SET_KEPT = {"group": "apps", "plural": "statefulsets", "probe": OWNER_SET, "unless": "false"}
"""What `held_back` takes: the operator can't change it."""
FIRST, LAST = (f"{NAME}-{OWNER}-{ordinal}" for ordinal in (0, OWNERS - 1))
AUTOSCALER = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/{NAME}-{OWNER}"
AUTOSCALING: Object = {
    "minReplicas": OWNERS,
    "maxReplicas": OWNERS,
    "cpuPercent": 100_000,
    "memoryPercent": 0,
}
MANY = 24
KILLS = 3
TOLD_TO_DRAIN = "kafscale.io/told-to-drain"
SECONDS_MAX = 240.0

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def cluster(world: World, operator: str) -> Iterator[Cluster]:
    one = {"replicas": 1, "resources": SMALL}
    owner = {"replicas": OWNERS, "resources": SMALL}
    spec = cluster_spec(NAMESPACE, gateway=one, owner=owner, metadata=one)
    with open_cluster(world, NAMESPACE, NAME, spec) as cluster:
        yield cluster


def test_a_scale_down_is_ended_by_the_next_leader(cluster: Cluster, operator: str) -> None:
    """Killed while the first owner drains, and once both are drained and the count is not yet lowered."""
    world = cluster.world
    with cluster.load("shrunk"):
        cluster.wait_spread(OWNERS)
        with held_back(world, **OWNER_SET_KEPT):
            with cluster.stopped(LAST):
                cluster.change(owner={"replicas": 1})
                wait_until(lambda: told(cluster) == [LAST], "it is told", seconds_max=120)
                kill_operator(world, operator)
            wait_until(lambda: served(cluster) == [FIRST], "two are drained", seconds_max=120)
            kill_operator(world, operator)
            assert len(cluster.pods(OWNER)) == OWNERS
        wait_until(lambda: len(cluster.pods(OWNER)) == 1, "one owner", seconds_max=SECONDS_MAX)
        cluster.wait_settled(SECONDS_MAX)
    cluster.change(owner={"replicas": OWNERS})
    cluster.wait_settled(SECONDS_MAX)


def test_a_scale_down_that_is_taken_back_meanwhile(cluster: Cluster, operator: str) -> None:
    """Who was told to drain stays after all: the next leader restarts it, or it would never serve again."""
    with cluster.load("kept"):
        cluster.wait_spread(OWNERS)
        before = cluster.uids(OWNER)
        with cluster.stopped(LAST):
            cluster.change(owner={"replicas": OWNERS - 1})
            wait_until(lambda: told(cluster) == [LAST], "it is told", seconds_max=120)
            kill_operator(cluster.world, operator)
            cluster.change(owner={"replicas": OWNERS})
        wait_until(
            lambda: len(cluster.pods(OWNER)) == OWNERS and not told(cluster), "none is told", seconds_max=120
        )
        cluster.wait_settled(SECONDS_MAX)
        cluster.wait_spread(OWNERS)
        now = cluster.uids(OWNER)
        assert [name for name, uid in now.items() if before[name] != uid] == [LAST]


def test_a_count_that_goes_to_an_autoscaler_and_back(cluster: Cluster, operator: str) -> None:
    """Each time it dies where the count is nobody's or two parties': not for a moment is it another one."""
    world = cluster.world
    before = cluster.uids(OWNER)
    with counts_seen(world, OWNER_SET) as seen:
        with held_back(world, **OWNER_SET_KEPT):
            cluster.change(owner={"autoscaling": AUTOSCALING})
            wait_until(
                lambda: f"{OPERATOR}-handover" in managers_of_count(world), "it is held", seconds_max=120
            )
            assert OPERATOR in managers_of_count(world)
            kill_operator(world, operator)
        wait_until(lambda: OPERATOR not in managers_of_count(world), "it is given up", seconds_max=120)
        cluster.wait_settled(SECONDS_MAX)
        assert world.get(AUTOSCALER) is not None
        with held_back(world, **OWNER_SET_KEPT):
            cluster.change(owner={"autoscaling": None})
            wait_until(lambda: world.get(AUTOSCALER) is None, "the autoscaler is gone", seconds_max=120)
            assert OPERATOR not in managers_of_count(world)
            kill_operator(world, operator)
        wait_until(lambda: OPERATOR in managers_of_count(world), "it is taken back", seconds_max=120)
        cluster.wait_settled(SECONDS_MAX)
    assert seen == {OWNERS}
    assert cluster.uids(OWNER) == before


def test_a_topic_that_was_made_and_not_yet_told_of_is_its_own(cluster: Cluster, operator: str) -> None:
    """Its resource doesn't name the topic, and asks for more by now: the next leader knows it anyway."""
    world = cluster.world
    world.apply(f"{TOPICS}/before", resource("before"))
    world.wait_condition(f"{TOPICS}/before", "Ready")
    with held_back(
        world,
        "kafscale.io",
        "kafscaletopics/status",
        f"{TOPICS}/before/status",
        unless="has(object.status) && !has(object.status.topicId)",
    ):
        world.apply(f"{TOPICS}/untold", resource("untold"))
        wait_until(lambda: "untold" in topics_of(cluster), "the topic is made", seconds_max=120, every=1.0)
        status = world.call("GET", f"{TOPICS}/untold")["status"]
        assert status["announced"]["partitions"] == 2
        assert "topicId" not in status
        kill_operator(world, operator)
        world.apply(f"{TOPICS}/untold", resource("untold", partitions=3))
    world.wait_condition(f"{TOPICS}/untold", "Ready")
    world.wait_condition(f"{TOPICS}/untold", "Conflict", "False")
    assert world.call("GET", f"{TOPICS}/untold")["status"]["partitions"] == 3


def test_many_topics_while_it_dies_again_and_again(cluster: Cluster, operator: str) -> None:
    world, draw = cluster.world, random.Random(0)
    names = [f"many-{number}" for number in range(MANY)]
    for number, name in enumerate(names):
        world.apply(f"{TOPICS}/{name}", resource(name, deletionPolicy="delete"))
        if number % (MANY // KILLS) == 1:
            time.sleep(draw.uniform(0.0, 1.0))  # a moment of its own each time
            kill_operator(world, operator)
    for name in names:
        world.wait_condition(f"{TOPICS}/{name}", "Ready", seconds_max=SECONDS_MAX)
    assert set(names) <= set(topics_of(cluster))
    for number, name in enumerate(names):
        world.call("DELETE", f"{TOPICS}/{name}")
        if number == MANY // 2:
            kill_operator(world, operator)
    wait_until(
        lambda: not [each for each in names if world.get(f"{TOPICS}/{each}")],
        "no resource is left",
        seconds_max=SECONDS_MAX,
    )
    assert not set(names) & set(topics_of(cluster))


def told(cluster: Cluster) -> list[str]:
    """Owners that were told to drain."""
    return [
        pod["metadata"]["name"]
        for pod in cluster.pods(OWNER)
        if TOLD_TO_DRAIN in (pod["metadata"].get("annotations") or {})
    ]


def served(cluster: Cluster) -> list[str]:
    """Owners that have partitions."""
    return [pod["metadata"]["name"] for pod in cluster.pods(OWNER) if cluster.partitions_of(pod)]


def managers_of_count(world: World) -> set[str]:
    return {
        each["manager"]
        for each in world.call("GET", OWNER_SET)["metadata"]["managedFields"]
        if "f:replicas" in each["fieldsV1"].get("f:spec", {})
    }


def resource(name: str, **spec: object) -> Object:
    kind = {"apiVersion": "kafscale.io/v1alpha1", "kind": "KafscaleTopic", "metadata": {"name": name}}
    return {**kind, "spec": {"clusterRef": NAME, "partitions": 2, **spec}}


def topics_of(cluster: Cluster) -> list[str]:
    return must_run("kafka-topics", cluster.bootstrap, "--list").split()
