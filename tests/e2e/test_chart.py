"""The chart alone, without the operator: installed, tested by its own test, upgraded, taken away."""

import pytest

from tests.e2e.api import Object
from tests.e2e.clusters import Cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.world import CHART, ETCD_ENDPOINT, S3_ENDPOINT, S3_SECRET, World

NAMESPACE = "plain"
RELEASE = "plain"

pytestmark = pytest.mark.timeout(900)


def _values() -> list[str]:
    pairs = {
        "global.s3.bucket": "plain",
        "global.s3.endpoint": S3_ENDPOINT,
        "global.s3.credentialsSecret": S3_SECRET,
        "global.etcd.endpoints[0]": ETCD_ENDPOINT,
        "operator.enabled": "false",
        "gateway.replicas": "2",
        "partitionOwner.replicas": "2",
        "metadata.replicas": "2",
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


def _pods(world: World) -> list[Object]:
    found = world.listed(f"/api/v1/namespaces/{NAMESPACE}/pods")
    return [pod for pod in found if not pod["metadata"]["name"].endswith("-test")]
