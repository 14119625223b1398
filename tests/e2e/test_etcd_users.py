"""An etcd that knows its users: a wrong password is told, the right one heals it, another one takes over.

The cluster's user may no more than what the guide says: its own keys.
"""

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.api import MERGE
from tests.e2e.clusters import SMALL, Cluster, cluster_spec, open_cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.own_etcd import host_of, run_etcd
from tests.e2e.world import World

NAMESPACE = "signed"
NAME = "signed"
ETCD_NAMESPACE = "signed-etcd"
ENDPOINT = f"http://{host_of(ETCD_NAMESPACE)}:2379"
SECRET = "kafscale-etcd"
SECRET_PATH = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
USER, NEXT_USER = "kafscale", "kafscale-next"
PASSWORD, WRONG, NEXT, LAST = "right", "wrong", "next", "last"
PREFIX = f"/kafscale/{NAME}/"
TOKEN_SECONDS = 5
"""A token that is not used for so long is over: a replica signs in anew all the time."""
SECONDS_MAX = 180.0

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def etcd(world: World) -> None:
    world.call("POST", "/api/v1/namespaces", {"metadata": {"name": ETCD_NAMESPACE}})
    listen = ("--listen-client-urls=http://0.0.0.0:2379", f"--advertise-client-urls={ENDPOINT}")
    run_etcd(world, ETCD_NAMESPACE, *listen, f"--auth-token-ttl={TOKEN_SECONDS}")
    etcdctl(world, "user", "add", "root:root")
    etcdctl(world, "user", "grant-role", "root", "root")
    etcdctl(world, "role", "add", "kafscale")
    etcdctl(world, "role", "grant-permission", "kafscale", "--prefix=true", "readwrite", PREFIX)
    add_user(world, USER, PASSWORD)
    etcdctl(world, "auth", "enable")


@pytest.fixture(scope="module")
def cluster(world: World, operator: str, etcd: None) -> Iterator[Cluster]:
    """Not ready: the password in its Secret is a wrong one."""
    one = {"replicas": 1, "resources": SMALL}
    own = {"endpoints": [ENDPOINT], "authSecretName": SECRET}
    spec = cluster_spec(NAMESPACE, etcd=own, gateway=one, owner=one, metadata={**one, "replicas": 2})
    with open_cluster(world, NAMESPACE, NAME, spec, ready=False) as cluster:
        yield cluster


def test_a_missing_secret_is_told(cluster: Cluster) -> None:
    cluster.wait_told(SECRET, seconds_max=SECONDS_MAX)
    keys = {"KAFSCALE_ETCD_USERNAME": USER, "KAFSCALE_ETCD_PASSWORD": WRONG}
    secret = {"metadata": {"name": SECRET}, "stringData": keys}
    cluster.world.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)


def test_a_wrong_password_is_told(cluster: Cluster) -> None:
    cluster.wait_told(f"etcd refuses user '{USER}'", seconds_max=SECONDS_MAX)
    assert f"{NAME}-metadata has 0 of 2 pods ready" in cluster.why_not_ready()
    assert WRONG not in cluster.why_not_ready()


def test_the_right_password_is_all_that_it_waits_for(cluster: Cluster) -> None:
    """Nothing is restarted by hand; and the etcd lets nobody else in."""
    say(cluster, USER, PASSWORD)
    cluster.wait_ready(SECONDS_MAX)
    with cluster.load("orders"):
        pass
    world = cluster.world
    nobody = ("get", PREFIX, "--prefix", "--keys-only")
    assert run_etcdctl(world, *nobody).returncode != 0
    kept = run_etcdctl(world, f"--user={USER}", f"--password={PASSWORD}", *nobody)
    assert f"{PREFIX}topics/orders" in kept.stdout.split()
    others = run_etcdctl(world, f"--user={USER}", f"--password={PASSWORD}", "get", "/kafscale/", "--prefix")
    assert "permission denied" in others.stderr


def test_another_user_takes_over_without_a_pause(cluster: Cluster) -> None:
    """As the guide has it: a second user, the Secret, a restart of the replicas, and the first one goes."""
    world = cluster.world
    with cluster.load("renamed"):
        add_user(world, NEXT_USER, NEXT)
        say(cluster, NEXT_USER, NEXT)
        restart_metadata(cluster)
        etcdctl(world, "user", "delete", USER)
        cluster.wait_settled(SECONDS_MAX)


def test_a_password_that_is_changed_under_it_is_logged(cluster: Cluster) -> None:
    """Replicas read the Secret when they start: one that runs signs in with what it knows."""
    world = cluster.world
    etcdctl(world, "user", "passwd", NEXT_USER, "--interactive=false", stdin=LAST)
    refused = f"etcd refuses user '{NEXT_USER}'"
    wait_until(lambda: refused in logs_of(cluster), f"{refused} is logged", seconds_max=SECONDS_MAX)
    say(cluster, NEXT_USER, LAST)
    restart_metadata(cluster)
    with cluster.load("changed"):
        pass


def restart_metadata(cluster: Cluster) -> None:
    before = cluster.uids("metadata")
    sets = ("rollout", "restart", f"statefulset/{NAME}-metadata", "--namespace", NAMESPACE)
    cluster.world.kubectl(*sets)
    wait_until(lambda: cluster.all_new("metadata", before), "every replica is new", seconds_max=SECONDS_MAX)
    cluster.wait_ready(SECONDS_MAX)


def logs_of(cluster: Cluster) -> str:
    """Of the first replica."""
    return cluster.world.kubectl("logs", f"{NAME}-metadata-0", "--namespace", NAMESPACE)


def say(cluster: Cluster, user: str, password: str) -> None:
    keys = {"KAFSCALE_ETCD_USERNAME": user, "KAFSCALE_ETCD_PASSWORD": password}
    cluster.world.call("PATCH", SECRET_PATH, {"stringData": keys}, content_type=MERGE)


def add_user(world: World, name: str, password: str) -> None:
    etcdctl(world, "user", "add", f"{name}:{password}")
    etcdctl(world, "user", "grant-role", name, "kafscale")


def etcdctl(world: World, *arguments: str, stdin: str = "") -> None:
    """As root, which nobody has to be while there is no authentication."""
    done = run_etcdctl(world, "--user=root", "--password=root", *arguments, stdin=stdin)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"


def run_etcdctl(world: World, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return world.tool("etcdctl", f"--endpoints={ENDPOINT}", *arguments, stdin=stdin)
