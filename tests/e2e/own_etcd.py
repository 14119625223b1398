"""An etcd that somebody else runs: one member in a pod of a namespace of its own, behind a Service.

Owns: its pod, its Service. Does not own: certificates, users.
"""

from collections.abc import Sequence

from tests.e2e.api import Object
from tests.e2e.world import World

_LABELS = {"app": "etcd"}
_REST = (
    "--data-dir=/var/lib/etcd/data",
    "--listen-peer-urls=http://127.0.0.1:2380",
    "--listen-metrics-urls=http://0.0.0.0:2381",
)


def host_of(namespace: str) -> str:
    """Its port is 2379."""
    return f"etcd.{namespace}.svc"


def run_etcd(world: World, namespace: str, *flags: str, secrets: Sequence[tuple[str, str]] = ()) -> None:
    """Ready when this returns. `secrets`: (name of a Secret, where it is mounted)."""
    mounts = [{"name": secret, "mountPath": path, "readOnly": True} for secret, path in secrets]
    container = {
        "name": "etcd",
        "image": "kafscale-etcd",
        "command": ["etcd", *flags, *_REST],
        "ports": [{"containerPort": 2379}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 2381}, "periodSeconds": 1},
        "volumeMounts": [*mounts, {"name": "data", "mountPath": "/var/lib/etcd"}],
    }
    volumes: list[Object] = [{"name": secret, "secret": {"secretName": secret}} for secret, _ in secrets]
    pod = {
        "metadata": {"name": "etcd", "labels": _LABELS},
        "spec": {"containers": [container], "volumes": [*volumes, {"name": "data", "emptyDir": {}}]},
    }
    core = f"/api/v1/namespaces/{namespace}"
    world.call("POST", f"{core}/pods", pod)
    service = {"selector": _LABELS, "ports": [{"port": 2379}]}
    world.call("POST", f"{core}/services", {"metadata": {"name": "etcd"}, "spec": service})
    ready = ("--for=condition=Ready", "--timeout=60s", "--namespace", namespace)
    try:
        world.kubectl("wait", "pod/etcd", *ready)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{world.logs(namespace)}") from error
