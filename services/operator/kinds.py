"""The kinds of Kubernetes objects that the operator knows, and how an object is named.

Owns: the table kind -> API path. Does not own: requests (cluster.py), what is in an object (render/).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Object = dict[str, Any]
"""One Kubernetes object, as its JSON."""

GROUP = "kafscale.io"
API_VERSION = f"{GROUP}/v1alpha1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The request path; without a namespace, of all namespaces."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        parts = [root, *(("namespaces", namespace) if namespace else ()), self.plural, name, subresource]
        return "/".join(part for part in parts if part)


CLUSTERS = Kind(api_version=API_VERSION, kind="KafscaleCluster", plural="kafscaleclusters")
TOPICS = Kind(api_version=API_VERSION, kind="KafscaleTopic", plural="kafscaletopics")
STATEFUL_SETS = Kind(api_version="apps/v1", kind="StatefulSet", plural="statefulsets")
SERVICES = Kind(api_version="v1", kind="Service", plural="services")
CONFIG_MAPS = Kind(api_version="v1", kind="ConfigMap", plural="configmaps")
SERVICE_ACCOUNTS = Kind(api_version="v1", kind="ServiceAccount", plural="serviceaccounts")
PODS = Kind(api_version="v1", kind="Pod", plural="pods")
EVENTS = Kind(api_version="v1", kind="Event", plural="events")
AUTOSCALERS = Kind(
    api_version="autoscaling/v2", kind="HorizontalPodAutoscaler", plural="horizontalpodautoscalers"
)
DISRUPTION_BUDGETS = Kind(api_version="policy/v1", kind="PodDisruptionBudget", plural="poddisruptionbudgets")
NETWORK_POLICIES = Kind(api_version="networking.k8s.io/v1", kind="NetworkPolicy", plural="networkpolicies")
CRON_JOBS = Kind(api_version="batch/v1", kind="CronJob", plural="cronjobs")
SERVICE_MONITORS = Kind(
    api_version="monitoring.coreos.com/v1", kind="ServiceMonitor", plural="servicemonitors"
)
LEASES = Kind(api_version="coordination.k8s.io/v1", kind="Lease", plural="leases")

MADE = (
    SERVICE_ACCOUNTS,
    CONFIG_MAPS,
    SERVICES,
    NETWORK_POLICIES,
    DISRUPTION_BUDGETS,
    AUTOSCALERS,
    STATEFUL_SETS,
    CRON_JOBS,
    SERVICE_MONITORS,
)
"""What a cluster is made of, in the order in which it is applied."""

BY_KIND: Mapping[str, Kind] = {kind.kind: kind for kind in (*MADE, CLUSTERS, TOPICS, PODS, EVENTS, LEASES)}


class Key(NamedTuple):
    """One object of the API server."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def key_of(item: Mapping[str, Any]) -> Key:
    metadata = item["metadata"]
    return Key(item["kind"], metadata["namespace"], metadata["name"])


def labels_of(item: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = item["metadata"].get("labels") or {}
    return labels


def controller_of(item: Mapping[str, Any]) -> str:
    """The uid of the object that made it and keeps it; empty where none does."""
    owners = item["metadata"].get("ownerReferences") or ()
    return next((each["uid"] for each in owners if each.get("controller")), "")
