"""How many pods there may be: HPAs and PodDisruptionBudgets.

Owns: which metric of docs/metrics.md a target is. A counter's rate is called `_per_second`, as the rules for
the metrics adapter in charts/samples make it.
"""

from collections.abc import Mapping
from typing import Any

from services.operator.kinds import AUTOSCALERS, DISRUPTION_BUDGETS, Object
from services.operator.render.common import GATEWAY, METADATA, OWNER, Context, make, selector
from services.operator.spec import Autoscaling

_NAMED = "kafscale_"
METRICS: Mapping[str, str] = {
    f"{GATEWAY} produced_bytes_per_second": f"{_NAMED}produced_bytes_per_second",
    f"{GATEWAY} in_flight_bytes": "kafscale_in_flight_bytes",
    f"{GATEWAY} connections": "kafscale_active_connections",
    f"{OWNER} produced_bytes_per_second": f"{_NAMED}chain_bytes_per_second",
    f"{OWNER} buffer_bytes": "kafscale_buffer_bytes",
    f"{METADATA} watchers": "kafscale_watchers",
}
"""Service and field of its autoscaling -> the metric's name in the custom metrics API."""


def autoscaler(context: Context, component: str, asked: Autoscaling) -> Object:
    body = {
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "name": context.name(component),
            },
            "minReplicas": asked.min_replicas,
            "maxReplicas": asked.max_replicas,
            "metrics": [*_resources(asked), *_pods(component, asked)],
            "behavior": {
                "scaleDown": {
                    "stabilizationWindowSeconds": asked.scale_down_stabilization_seconds,
                    # One at a time: each owner that goes hands its partitions over to those that stay.
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                }
            },
        }
    }
    return make(context, AUTOSCALERS, component, component, body)


def _resources(asked: Autoscaling) -> list[dict[str, Any]]:
    targets = {"cpu": asked.cpu_percent, "memory": asked.memory_percent}
    return [
        {
            "type": "Resource",
            "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": percent}},
        }
        for name, percent in targets.items()
        if percent
    ]


def _pods(component: str, asked: Autoscaling) -> list[dict[str, Any]]:
    targets = {
        name: getattr(asked, field)
        for key, name in METRICS.items()
        for service, _, field in [key.partition(" ")]
        if service == component
    }
    return [
        {
            "type": "Pods",
            "pods": {
                "metric": {"name": name},
                "target": {"type": "AverageValue", "averageValue": str(value)},
            },
        }
        for name, value in targets.items()
        if value is not None
    ]


def disruption_budget(context: Context, component: str) -> Object:
    """One pod of a service at a time: one owner's partitions move, one of three etcd members is away."""
    body = {
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector(context.cluster, component)},
        }
    }
    return make(context, DISRUPTION_BUDGETS, component, component, body)
