"""The chart alone, without the operator: installed, tested by its own test, upgraded, taken away."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.api import Object
from tests.e2e.clusters import OWNER, Cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.world import CHART, ETCD_ENDPOINT, S3_ENDPOINT, S3_SECRET, World

NAMESPACE = "plain"
RELEASE = "plain"
APART = "apart"
APART_RELEASES = {"meta": "metadata", "owners": "partitionOwner", "doors": "gateway"}
"""Release -> the one service in it."""

pytestmark = pytest.mark.timeout(900)


def _values(bucket: str = "plain", **more: str) -> list[str]:
    pairs = {
        "global.s3.bucket": bucket,
        "global.s3.endpoint": S3_ENDPOINT,
        "global.s3.credentialsSecret": S3_SECRET,
        "global.etcd.endpoints[0]": ETCD_ENDPOINT,
        "operator.enabled": "false",
        "gateway.replicas": "2",
        "partitionOwner.replicas": "2",
        "metadata.replicas": "2",
        **more,
    }
    return [part for key, value in pairs.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def release(world: World) -> Cluster:
    world.make_namespace(NAMESPACE, "plain")
    world.helm(
        *("install", RELEASE, str(CHART), "--namespace", NAMESPACE, *_values()),
        *("--wait", "--timeout", "240s"),
    )
    return Cluster(world, NAMESPACE, RELEASE)


def test_helms_own_test_produces_and_consumes(release: Cluster) -> None:
    told = release.world.helm("test", RELEASE, "--namespace", NAMESPACE, "--timeout", "120s")
    assert "Phase:          Succeeded" in told


def test_an_upgrade_under_load_loses_nothing(release: Cluster) -> None:
    world = release.world
    before = {part: release.uids(part) for part in ("gateway", "partition-owner", "metadata")}
    with release.load("upgraded"):
        world.helm(
            *("upgrade", RELEASE, str(CHART), "--namespace", NAMESPACE, *_values()),
            *("--set", "global.config.KAFSCALE_LOG_LEVEL=debug", "--wait", "--timeout", "280s"),
        )
        wait_until(
            lambda: all(
                not set(release.uids(part).values()) & set(uids.values()) for part, uids in before.items()
            ),
            "every pod is a new one",
            seconds_max=120,
        )
    assert world.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/kafscaletopics.kafscale.io")


def test_what_is_taken_away_leaves_the_crds(release: Cluster) -> None:
    world = release.world
    world.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "120s")
    wait_until(lambda: not _pods(world), "no pod is left", seconds_max=120)
    assert world.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/kafscaleclusters.kafscale.io")


@pytest.fixture
def apart(world: World) -> Iterator[Cluster]:
    """The three services as three releases, which make one cluster all the same."""
    world.make_namespace(APART, APART)
    instances = {"key": "app.kubernetes.io/instance", "operator": "In", "values": list(APART_RELEASES)}
    peers = json.dumps([{"podSelector": {"matchExpressions": [instances]}}])
    shared = {"global.cluster": APART, "global.metadataAddresses[0]": f"meta-metadata.{APART}.svc:9094"}
    try:
        for release, service in APART_RELEASES.items():
            others = {f"{other}.enabled": "false" for other in APART_RELEASES.values() if other != service}
            let_in = () if service == "gateway" else ("--set-json", f"{service}.networkPolicy.peers={peers}")
            world.helm(
                *("install", release, str(CHART), "--namespace", APART, *_values(APART, **shared, **others)),
                *let_in,
                *("--wait", "--timeout", "240s"),
            )
        yield Cluster(world, APART, "doors")
    finally:
        for release in reversed(APART_RELEASES):
            world.helm("uninstall", release, "--namespace", APART, "--ignore-not-found", "--wait")


def test_each_service_in_a_release_of_its_own(apart: Cluster) -> None:
    world = apart.world
    with apart.load("together"):
        before = {pod["metadata"]["uid"] for pod in world.pods(APART, OWNER)}
        world.kubectl("delete", "pod", "owners-partition-owner-0", "--namespace", APART)
        wait_until(
            lambda: len({pod["metadata"]["uid"] for pod in world.pods(APART, OWNER)} - before) == 1,
            "the owner is back",
            seconds_max=120,
        )


def _pods(world: World) -> list[Object]:
    found = world.listed(f"/api/v1/namespaces/{NAMESPACE}/pods")
    return [pod for pod in found if not pod["metadata"]["name"].endswith("-test")]
