"""The managed etcd: three members, each on a node of its own, defragmented once a day.

Owns: the StatefulSet and the CronJob. Does not own: snapshots: owners write the metadata store to the bucket
(docs/recovery.md), from which it is rebuilt.
Rules: 1 its claims outlive the cluster: etcd's data is deleted by a person.
"""

from typing import Any

from services.operator.kinds import CRON_JOBS, STATEFUL_SETS, Object
from services.operator.render.common import (
    ETCD,
    ETCD_PEER_PORT,
    ETCD_PORT,
    VERSION,
    Context,
    container_security,
    make,
    pod_labels,
    pod_security,
    selector,
)
from services.operator.render.settings import ETCD_MEMBERS, managed_endpoints
from services.operator.spec import ManagedEtcd

_QUOTA_BYTES = 4 * 1024**3


def image(context: Context, asked: ManagedEtcd) -> str:
    """The one asked for, else the one that is built and kept beside the operator's default image."""
    if asked.image:
        return asked.image
    name, _, digest = context.default_image.partition("@")
    folder, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    return f"{folder}{slash}{repository}-etcd:{VERSION if digest or not tag else tag}"


def stateful_set(context: Context, asked: ManagedEtcd) -> Object:
    cluster = context.cluster
    body: dict[str, Any] = {
        "spec": {
            "replicas": ETCD_MEMBERS,
            "serviceName": context.name(ETCD),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": selector(cluster, ETCD)},
            "template": {
                "metadata": {"labels": pod_labels(cluster, ETCD)},
                "spec": _pod(context, asked),
            },
            "volumeClaimTemplates": [
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "data", "labels": selector(cluster, ETCD)},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "storageClassName": asked.storage_class_name,
                        "resources": {"requests": {"storage": asked.storage_size}},
                    },
                }
            ],
        }
    }
    return make(context, STATEFUL_SETS, ETCD, ETCD, body)


def _pod(context: Context, asked: ManagedEtcd) -> dict[str, Any]:
    other_node = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": selector(context.cluster, ETCD)},
    }
    return {
        "automountServiceAccountToken": False,
        "serviceAccountName": context.name(ETCD),
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "imagePullSecrets": [{"name": name} for name in context.cluster.spec.image_pull_secrets],
        "priorityClassName": asked.priority_class_name,
        "tolerations": list(asked.tolerations),
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [other_node]}},
        "containers": [
            {
                "name": ETCD,
                "image": image(context, asked),
                "command": ["etcd"],
                "env": _env(context),
                "ports": [
                    {"name": "client", "containerPort": ETCD_PORT, "protocol": "TCP"},
                    {"name": "peer", "containerPort": ETCD_PEER_PORT, "protocol": "TCP"},
                ],
                "resources": asked.resources,
                "securityContext": container_security(),
                "terminationMessagePolicy": "FallbackToLogsOnError",  # for the cluster's condition: pods.py
                "volumeMounts": [{"name": "data", "mountPath": "/var/lib/etcd"}],
                "startupProbe": _probe("/readyz", failures=60),
                "readinessProbe": _probe("/readyz", failures=3),
                "livenessProbe": _probe("/livez", failures=8),
            }
        ],
    }


def _env(context: Context) -> list[dict[str, Any]]:
    name, domain = context.name(ETCD), context.host(ETCD)
    members = ",".join(
        f"{name}-{index}=http://{name}-{index}.{domain}:{ETCD_PEER_PORT}" for index in range(ETCD_MEMBERS)
    )
    values = {
        "ETCD_NAME": "$(POD_NAME)",
        "ETCD_DATA_DIR": "/var/lib/etcd/data",
        "ETCD_LISTEN_CLIENT_URLS": f"http://0.0.0.0:{ETCD_PORT}",
        "ETCD_LISTEN_PEER_URLS": f"http://0.0.0.0:{ETCD_PEER_PORT}",
        "ETCD_ADVERTISE_CLIENT_URLS": f"http://$(POD_NAME).{domain}:{ETCD_PORT}",
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": f"http://$(POD_NAME).{domain}:{ETCD_PEER_PORT}",
        "ETCD_INITIAL_CLUSTER": members,
        "ETCD_INITIAL_CLUSTER_TOKEN": context.cluster.uid,
        "ETCD_INITIAL_CLUSTER_STATE": "new",
        "ETCD_QUOTA_BACKEND_BYTES": str(_QUOTA_BYTES),
    }
    pod_name = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    return [
        {"name": "POD_NAME", "valueFrom": pod_name},
        *({"name": key, "value": value} for key, value in values.items()),
    ]


def _probe(path: str, *, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "client"},
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def defragmentation(context: Context, asked: ManagedEtcd) -> Object:
    """One member after the other, as `etcdctl defrag` does with several endpoints; the leader may be any."""
    endpoints = ",".join(managed_endpoints(context))
    pod = {
        "automountServiceAccountToken": False,
        "serviceAccountName": context.name(ETCD),
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": pod_security(),
        "imagePullSecrets": [{"name": name} for name in context.cluster.spec.image_pull_secrets],
        "tolerations": list(asked.tolerations),
        "containers": [
            {
                "name": "defragment",
                "image": image(context, asked),
                "command": ["etcdctl", "defrag", "--command-timeout=60s", f"--endpoints={endpoints}"],
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                "securityContext": container_security(),
            }
        ],
    }
    # Not a member: labelled as a job of its own, so that no Service or budget selects it.
    template = {"metadata": {"labels": pod_labels(context.cluster, "etcd-defragment")}, "spec": pod}
    body = {
        "spec": {
            "schedule": asked.defragment_schedule,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {"backoffLimit": 2, "activeDeadlineSeconds": 900, "template": template},
            },
        }
    }
    return make(context, CRON_JOBS, "etcd-defragment", ETCD, body)
