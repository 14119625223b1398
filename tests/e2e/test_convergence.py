"""A cluster's objects: made again from any part of them, left alone once right, and nobody else's touched."""

import random
import time
from collections.abc import Iterator

import pytest

from tests.e2e.api import MERGE, Object
from tests.e2e.clusters import SMALL, Cluster, cluster_spec, open_cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.world import World

NAMESPACE = "converging"
_PATHS = {
    "services": f"/api/v1/namespaces/{NAMESPACE}/services",
    "configmaps": f"/api/v1/namespaces/{NAMESPACE}/configmaps",
    "serviceaccounts": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "networkpolicies": f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies",
    "poddisruptionbudgets": f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets",
    "horizontalpodautoscalers": f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers",
    "cronjobs": f"/apis/batch/v1/namespaces/{NAMESPACE}/cronjobs",
    "statefulsets": f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets",
}
_QUIET_SECONDS = 5.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def cluster(world: World, operator: str) -> Iterator[Cluster]:
    one = {"replicas": 1, "resources": SMALL}
    spec = cluster_spec(NAMESPACE, gateway=one, owner=one, metadata=one)
    with open_cluster(world, NAMESPACE, "whole", spec) as cluster:
        yield cluster


def objects(world: World, name: str = "whole") -> dict[str, Object]:
    """The cluster's own, by kind and name."""
    label = f"{_of(name)},app.kubernetes.io/managed-by=kafscale-operator"
    return {
        f"{path}/{item['metadata']['name']}": item
        for path in _PATHS.values()
        for item in world.listed(path, label)
    }


def writes(found: dict[str, Object]) -> dict[str, list[Object]]:
    """What the operator wrote when, of each; others write statuses meanwhile."""
    return {
        path: [each for each in item["metadata"]["managedFields"] if each["manager"] == "kafscale-operator"]
        for path, item in found.items()
    }


def test_what_is_right_is_left_alone(cluster: Cluster) -> None:
    world = cluster.world
    before = writes(objects(world))
    assert before
    world.call("PATCH", cluster.path, {"metadata": {"annotations": {"look": "again"}}}, content_type=MERGE)
    time.sleep(_QUIET_SECONDS)  # nothing to wait for: it must not happen
    assert writes(objects(world)) == before


def test_a_spec_that_says_everything_is_applied_once(world: World, cluster: Cluster) -> None:
    """What the API server makes of a field must not look like a change that somebody made."""
    everywhere = {
        "nodeSelector": {"disk": "of-no-node-here"},  # its pods wait: they are not what this is about
        "zones": ["zone-a", "zone-b"],
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "kafka", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "resources": {"requests": {"cpu": "1500m", "memory": "1024Mi"}, "limits": {"memory": "2G"}},
    }
    scaling = {"maxReplicas": 5, "cpuPercent": 60}
    spec = cluster_spec(
        NAMESPACE,
        imagePullSecrets=["registry"],
        gateway={**everywhere, "autoscaling": {**scaling, "connections": 100, "inFlightBytes": 1 << 28}},
        owner={**everywhere, "autoscaling": {**scaling, "producedBytesPerSecond": 30_000_000}},
        metadata=everywhere,
        etcd={"managed": {"storageSize": "1Gi", "tolerations": everywhere["tolerations"]}},
        listeners={
            "advertisedMode": "instance",
            "external": {"host": "kafka-{index}.example.com", "annotations": {"balancer": "inner"}},
            "tlsSecret": "kafka-tls",
        },
        config={
            "flushLingerMs": 0.5,
            "leaseSeconds": 6.5,
            "autoCreateTopics": False,
            "defaultRetention": {"ms": -1, "bytes": 1 << 40},
        },
        s3={"bucket": NAMESPACE, "readBucket": "copy", "kmsKey": "alias/records", "prefix": "loaded"},
    )
    loaded = Cluster(world, NAMESPACE, "loaded")
    loaded.create(spec)
    wait_until(lambda: len(objects(world, "loaded")) >= 20, "all is made", seconds_max=60)
    time.sleep(_QUIET_SECONDS)  # services get their load balancer's ports, HPAs their first look
    before = writes(objects(world, "loaded"))
    time.sleep(_QUIET_SECONDS)  # nothing to wait for: it must not happen
    assert writes(objects(world, "loaded")) == before
    world.call("DELETE", loaded.path)
    wait_until(lambda: not objects(world, "loaded"), "all is gone", seconds_max=60)


def test_a_service_monitor_comes_and_goes_as_asked(
    world: World, cluster: Cluster, prometheus_kinds: None
) -> None:
    """The Prometheus operator's kind, which may be installed after our operator."""
    path = f"/apis/monitoring.coreos.com/v1/namespaces/{NAMESPACE}/servicemonitors/whole-metrics"
    monitor = {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}}
    cluster.change(metrics={"serviceMonitor": monitor})
    wait_until(lambda: _found(world, path), "it is made", seconds_max=90)
    made = world.call("GET", path)
    assert made["metadata"]["labels"]["release"] == "prometheus"
    assert made["spec"]["endpoints"][0]["interval"] == "15s"
    cluster.change(metrics={"serviceMonitor": {"enabled": False}})
    wait_until(lambda: not _found(world, path), "it is gone", seconds_max=90)


@pytest.mark.parametrize("seed", range(4))
def test_any_part_of_it_becomes_the_whole_again(cluster: Cluster, seed: int) -> None:
    world = cluster.world
    whole = objects(world)
    draw = random.Random(seed)
    gone = [path for path in whole if draw.random() < 0.5]
    for path in gone:
        world.call("DELETE", path, {"propagationPolicy": "Background"})
    wait_until(lambda: objects(world).keys() == whole.keys(), "all is there again", seconds_max=60)
    cluster.wait_ready()
    for path, item in objects(world).items():
        assert (item["metadata"]["uid"] != whole[path]["metadata"]["uid"]) == (path in gone), path


def test_what_is_somebody_elses_is_left_alone(world: World, cluster: Cluster) -> None:
    path = f"{_PATHS['configmaps']}/taken-config"
    theirs = {"metadata": {"name": "taken-config"}, "data": {"whose": "not ours"}}
    made = world.call("POST", _PATHS["configmaps"], theirs)
    taken = Cluster(world, NAMESPACE, "taken")
    taken.create(
        cluster_spec(NAMESPACE, gateway={"replicas": 1}, owner={"replicas": 1}, metadata={"replicas": 1})
    )
    told = world.wait_condition(taken.path, "Ready", "False")
    wait_until(
        lambda: world.wait_condition(taken.path, "Ready", "False")["reason"] == "NameTaken",
        "it is told",
        seconds_max=30,
    )
    assert world.call("GET", path)["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"], told
    world.call("DELETE", taken.path)
    wait_until(lambda: not world.listed(_PATHS["statefulsets"], _of("taken")), "all is gone", seconds_max=60)
    assert world.get(path) is not None
    assert world.listed(_PATHS["statefulsets"], _of("whole"))


def _found(world: World, path: str) -> bool:
    return world.get(path) is not None


def _of(name: str) -> str:
    return f"app.kubernetes.io/instance={name}"
