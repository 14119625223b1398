"""Scaling by what is not CPU: memory, produced bytes, watchers, as the real HPA controller reads them."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.api import Object
from tests.e2e.clusters import OWNER, Cluster, cluster_spec, open_cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.world import World

NAMESPACE = "measured"
AUTOSCALERS = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
RESOURCES: Object = {"requests": {"cpu": "20m", "memory": "128Mi"}}
SECONDS_MAX = 180.0

pytestmark = pytest.mark.timeout(900)


def service(**target: int) -> Object:
    """Follows this one metric, from one pod to two; the others are off."""
    scale = {"minReplicas": 1, "maxReplicas": 2, "cpuPercent": 0, "memoryPercent": 0, **target}
    return {"autoscaling": scale, "resources": RESOURCES}


@pytest.fixture(scope="module")
def cluster(world: World, operator: str) -> Iterator[Cluster]:
    # A replica takes some 60 MiB of the 128 that it asks for; an idle cluster produces nothing.
    by_bytes = service(producedBytesPerSecond=500)
    spec = cluster_spec(NAMESPACE, gateway=by_bytes, owner=by_bytes, metadata=service(memoryPercent=10))
    with open_cluster(world, NAMESPACE, "measured", spec) as cluster:
        yield cluster


def wait_count(cluster: Cluster, component: str, count: int) -> None:
    def there() -> bool:
        return len(cluster.pods(component)) == count

    _wait(cluster, component, there, f"{count} pods of {component}")


def _wait(cluster: Cluster, component: str, holds: Callable[[], bool], what: str) -> None:
    try:
        wait_until(holds, what, seconds_max=SECONDS_MAX)
    except AssertionError as error:
        seen = cluster.world.call("GET", f"{AUTOSCALERS}/measured-{component}")["status"]
        raise AssertionError(f"{error}; {seen}") from error


def test_memory_brings_a_replica(cluster: Cluster) -> None:
    wait_count(cluster, "metadata", 2)
    assert len(cluster.pods(OWNER)) == len(cluster.pods("gateway")) == 1, "nothing is produced"


def test_produced_bytes_bring_an_owner_and_a_gateway(cluster: Cluster) -> None:
    with cluster.load("busy"):
        wait_count(cluster, OWNER, 2)
        wait_count(cluster, "gateway", 2)
        cluster.wait_ready()
        cluster.wait_spread(2, seconds_max=SECONDS_MAX)


def test_watchers_bring_a_replica(cluster: Cluster) -> None:
    """Two owners and two gateways follow one replica or the other."""
    by_watchers = service(watchers=1)
    by_watchers["autoscaling"]["maxReplicas"] = 3
    cluster.change(metadata=by_watchers)
    wait_count(cluster, "metadata", 3)
