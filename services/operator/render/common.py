"""What every rendered object shares: names, labels, the owner reference, a pod's rules.

Owns: how things are called (docs/plan-kubernetes.md, Names). Does not own: any whole object.
Rules: 1 empty values are left out, so that what is applied is what is read back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.operator.kinds import API_VERSION, CLUSTERS, Kind, Object
from services.operator.spec import Cluster

MANAGED_BY = "kafscale-operator"
LABEL = "app.kubernetes.io/"
COMPONENT_LABEL = LABEL + "component"
INSTANCE_LABEL = LABEL + "instance"
MANAGED_BY_LABEL = LABEL + "managed-by"
SELECT_ALL = LABEL + "name=kafscale"
CONFIG_HASH = f"{CLUSTERS.api_version.partition('/')[0]}/config"
VERSION = "0.1.0"

KAFKA_PORT = 9092
ADMIN_PORT = 9093
RPC_PORT = 9094
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380

USER_ID = 10001

GATEWAY = "gateway"
OWNER = "partition-owner"
METADATA = "metadata"
ETCD = "etcd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an object is rendered with."""

    cluster: Cluster
    default_image: str

    def name(self, suffix: str) -> str:
        return f"{self.cluster.name}-{suffix}"

    def host(self, suffix: str) -> str:
        return f"{self.name(suffix)}.{self.cluster.namespace}.svc"


def selector(cluster: Cluster, component: str) -> dict[str, str]:
    """Never changes for an object: selectors can't."""
    return {
        LABEL + "name": "kafscale",
        INSTANCE_LABEL: cluster.name,
        COMPONENT_LABEL: component,
    }


def labels(cluster: Cluster, component: str) -> dict[str, str]:
    return {
        **selector(cluster, component),
        LABEL + "part-of": "kafscale",
        MANAGED_BY_LABEL: MANAGED_BY,
        LABEL + "version": VERSION,
    }


def pod_labels(cluster: Cluster, component: str) -> dict[str, str]:
    """Without the version, so that a new one alone restarts no pod whose image stays."""
    return {key: value for key, value in labels(cluster, component).items() if key != LABEL + "version"}


def pruned(value: Any) -> Any:
    """Without None, and without empty mappings, lists and texts where a key alone says nothing."""
    if isinstance(value, Mapping):
        kept = {key: pruned(each) for key, each in value.items()}
        return {
            key: each
            for key, each in kept.items()
            if each not in (None, "", {}, []) or key in _MEAN_THEMSELVES
        }
    if isinstance(value, list | tuple):
        return [pruned(each) for each in value]
    return value


_MEAN_THEMSELVES = frozenset({"emptyDir", "podSelector", "namespaceSelector"})


def make(
    context: Context,
    kind: Kind,
    suffix: str,
    component: str,
    body: Mapping[str, Any],
    *,
    annotations: Mapping[str, str] | None = None,
    extra_labels: Mapping[str, str] | None = None,
) -> Object:
    """A namespaced object that goes when its cluster goes."""
    cluster = context.cluster
    item: Object = pruned(
        {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {
                "name": context.name(suffix),
                "namespace": cluster.namespace,
                "labels": {**labels(cluster, component), **(extra_labels or {})},
                "annotations": dict(annotations or {}),
                "ownerReferences": [
                    {
                        "apiVersion": API_VERSION,
                        "kind": CLUSTERS.kind,
                        "name": cluster.name,
                        "uid": cluster.uid,
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            **body,
        }
    )
    return item


def container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def pod_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def spread(cluster: Cluster, component: str) -> list[dict[str, Any]]:
    """Over zones first, then over nodes; better crowded than not at all."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(cluster, component)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
