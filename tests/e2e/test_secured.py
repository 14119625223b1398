"""Stores that let nobody read along: an etcd behind certificates of both sides, objects under a KMS key."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trustme

from tests.e2e.clusters import SMALL, Cluster, cluster_spec, open_cluster
from tests.e2e.control_plane import wait_until
from tests.e2e.own_etcd import host_of, run_etcd
from tests.e2e.world import World
from tests.support.certificates import ServerCertificate, issue
from tests.support.clients import create_topic, produce_all

NAMESPACE = "secured"
ETCD_NAMESPACE = "secured-etcd"
HOST = host_of(ETCD_NAMESPACE)
RECORDS = 20

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def cluster(
    world: World, operator: str, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("certificates")
    _put_secret(world, ETCD_NAMESPACE, "etcd-server", issue(folder / "server", HOST, authority=authority))
    # No host's name or address: etcd holds those of a client against the address that it comes from.
    client = issue(folder / "client", "kafscale@example.com", authority=authority)
    _put_secret(world, NAMESPACE, "etcd-client", client)
    listen = (
        "--listen-client-urls=https://0.0.0.0:2379",
        f"--advertise-client-urls=https://{HOST}:2379",
        "--cert-file=/tls/tls.crt",
        "--key-file=/tls/tls.key",
        "--client-cert-auth",
        "--trusted-ca-file=/tls/ca.crt",
    )
    run_etcd(world, ETCD_NAMESPACE, *listen, secrets=[("etcd-server", "/tls")])
    one = {"replicas": 1, "resources": SMALL}
    etcd = {"endpoints": [f"https://{HOST}:2379"], "tls": {"secretName": "etcd-client"}}
    spec = cluster_spec(NAMESPACE, etcd=etcd, gateway=one, owner=one, metadata=one)
    spec["s3"]["kmsKey"] = world.minio.kms_key
    with open_cluster(world, NAMESPACE, "secured", spec) as cluster:
        yield cluster


def _put_secret(world: World, namespace: str, name: str, issued: ServerCertificate) -> None:
    """In a namespace that is made for it."""
    world.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    files = (issued.ca_file, issued.cert_file, issued.key_file)
    secret = {"metadata": {"name": name}, "stringData": {file.name: file.read_text() for file in files}}
    world.call("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)


def test_nobody_comes_in_without_a_certificate(cluster: Cluster, authority: trustme.CA) -> None:
    """Else the other test would show nothing."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    assert _answer(context) == b""


def _answer(context: ssl.SSLContext) -> bytes:
    """The first byte that etcd says; nothing where it ends the connection."""
    with (
        socket.create_connection((HOST, 2379), timeout=30) as plain,
        suppress(ssl.SSLError, ConnectionError),
        context.wrap_socket(plain, server_hostname=HOST) as etcd,
    ):
        etcd.sendall(b"GET /version HTTP/1.1\r\nHost: etcd\r\n\r\n")
        return etcd.recv(1)
    return b""


def test_metadata_is_kept_behind_certificates(cluster: Cluster) -> None:
    """Ready means that topics can be made; a replica that starts anew finds them there."""
    create_topic(cluster.bootstrap, "orders", 2)
    produce_all(cluster.bootstrap, "orders", [(number % 2, b"before") for number in range(RECORDS)])
    before = cluster.uids("metadata")
    cluster.world.kubectl("delete", "pod", "secured-metadata-0", "--namespace", NAMESPACE)
    wait_until(lambda: cluster.all_new("metadata", before), "the replica is back", seconds_max=120)
    cluster.wait_ready()
    produce_all(cluster.bootstrap, "orders", [(number % 2, b"after") for number in range(RECORDS)])


def test_every_object_is_encrypted_with_the_key(cluster: Cluster) -> None:
    create_topic(cluster.bootstrap, "payments", 1)
    produce_all(cluster.bootstrap, "payments", [(0, b"paid")] * RECORDS)
    minio = cluster.world.minio
    used = minio.kms_keys(NAMESPACE)
    assert any("wal/" in name for name in used), used
    assert set(used.values()) == {f"arn:aws:kms:{minio.kms_key}"}, used
