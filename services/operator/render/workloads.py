"""StatefulSets of gateways, owners and metadata replicas.

Owns: their pods. Does not own: variables (settings.py), etcd (etcd.py), how owners are rolled (rolling.py).
Rules: 1 while an HPA has the replica count it is not in the object at all.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from services.operator.kinds import SERVICE_ACCOUNTS, STATEFUL_SETS, Object
from services.operator.render.common import (
    ADMIN_PORT,
    CONFIG_HASH,
    GATEWAY,
    KAFKA_PORT,
    METADATA,
    OWNER,
    RPC_PORT,
    Context,
    container_security,
    make,
    pod_labels,
    pod_security,
    selector,
    spread,
)
from services.operator.render.settings import ETCD_TLS_PATH, KAFKA_TLS_PATH, config_hash, env, image
from services.operator.spec import Cluster, Gateways, Metadata, Owners

_MODULES = {GATEWAY: "services.gateway", OWNER: "services.partition_owner", METADATA: "services.metadata"}
_PORTS = {
    GATEWAY: {"kafka": KAFKA_PORT, "admin": ADMIN_PORT},
    OWNER: {"admin": ADMIN_PORT, "rpc": RPC_PORT},
    METADATA: {"admin": ADMIN_PORT, "rpc": RPC_PORT},
}
_GRACE_SECONDS = 15
"""What a pod gets beyond its own drain before it is killed."""
_LEAVE_SECONDS = "3"
"""A gateway goes on accepting until proxies and load balancers have heard that it leaves."""


Service = Gateways | Owners | Metadata


def components(cluster: Cluster) -> dict[str, Service]:
    spec = cluster.spec
    return {METADATA: spec.metadata, OWNER: spec.owner, GATEWAY: spec.gateway}


def service_account(context: Context, component: str) -> Object:
    """No token is mounted; annotations bind an owner's to an identity of the cloud."""
    annotations = context.cluster.spec.s3.service_account_annotations if component == OWNER else {}
    body = {"automountServiceAccountToken": False}
    return make(context, SERVICE_ACCOUNTS, component, component, body, annotations=annotations)


def stateful_set(context: Context, component: str, *, replicas: int | None = None) -> Object:
    """`replicas` instead of the spec's: while pods that leave are being drained."""
    asked = components(context.cluster)[component]
    count = None if asked.autoscaling else (asked.replicas if replicas is None else replicas)
    body: dict[str, Any] = {
        "spec": {
            "replicas": count,
            "serviceName": context.name(component),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete" if component == OWNER else "RollingUpdate"},
            "selector": {"matchLabels": selector(context.cluster, component)},
            "template": _template(context, component, asked),
        }
    }
    return make(context, STATEFUL_SETS, component, component, body)


def _template(context: Context, component: str, asked: Service) -> dict[str, Any]:
    cluster = context.cluster
    secrets = _secret_mounts(cluster, component)
    return {
        "metadata": {
            "labels": pod_labels(cluster, component),
            "annotations": {CONFIG_HASH: config_hash(context, component)},
        },
        "spec": {
            "serviceAccountName": context.name(component),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": cluster.spec.config.drain_seconds + _GRACE_SECONDS,
            "securityContext": pod_security(),
            "imagePullSecrets": [{"name": name} for name in cluster.spec.image_pull_secrets],
            "nodeSelector": asked.node_selector,
            "affinity": _affinity(asked),
            "tolerations": list(asked.tolerations),
            "priorityClassName": asked.priority_class_name,
            "topologySpreadConstraints": spread(cluster, component),
            "containers": [_container(context, component, asked, secrets)],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                *({"name": each.volume, "secret": {"secretName": each.secret}} for each in secrets),
            ],
        },
    }


class _SecretMount(NamedTuple):
    volume: str
    secret: str
    path: str


def _secret_mounts(cluster: Cluster, component: str) -> list[_SecretMount]:
    spec = cluster.spec
    if component == METADATA and spec.etcd.tls is not None:
        return [_SecretMount("etcd-tls", spec.etcd.tls.secret_name, ETCD_TLS_PATH)]
    if component == GATEWAY and spec.listeners.tls_secret:
        return [_SecretMount("kafka-tls", spec.listeners.tls_secret, KAFKA_TLS_PATH)]
    return []


def _container(
    context: Context, component: str, asked: Service, secrets: Sequence[_SecretMount]
) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a volume of its own
    mounts += [{"name": each.volume, "mountPath": each.path, "readOnly": True} for each in secrets]
    return {
        "name": component,
        "image": image(context, asked),
        "command": ["python", "-m", _MODULES[component]],
        "env": env(context, component),
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in _PORTS[component].items()
        ],
        "resources": asked.resources,
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # for the cluster's condition: pods.py
        "volumeMounts": mounts,
        "startupProbe": _probe("/readyz", period_seconds=2, failures=150),
        "readinessProbe": _probe("/readyz", period_seconds=5, failures=2),
        "livenessProbe": _probe("/healthz", period_seconds=10, failures=6),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", _LEAVE_SECONDS]}}}
        if component == GATEWAY
        else {},
    }


def _probe(path: str, *, period_seconds: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _affinity(asked: Service) -> dict[str, Any]:
    """What is asked for, and the zones as one more condition of each of its node terms."""
    if not asked.zones:
        return asked.affinity
    zone = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": list(asked.zones)}
    node = asked.affinity.get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [
        {**term, "matchExpressions": [*(term.get("matchExpressions") or ()), zone]}
        for term in required.get("nodeSelectorTerms") or [{}]
    ]
    within = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {**asked.affinity, "nodeAffinity": {**node, **within}}
