"""All objects of one KafscaleCluster.

Owns: which there are. Does not own: what is in each.
"""

from typing import Any

from services.operator.kinds import MADE, SERVICE_MONITORS, Object
from services.operator.render import etcd, network, scaling, settings, workloads
from services.operator.render.common import ETCD, INSTANCE_LABEL, LABEL, OWNER, Context, make


def render(context: Context, *, owner_replicas: int | None = None, gateways: int = 0) -> list[Object]:
    """In the order in which they are applied. Pure: the same spec gives the same bytes.

    `owner_replicas` holds the owners' count where the spec asks for fewer and some are still being drained.
    `gateways`: how many there are. One that leaves keeps its own Service until it is gone.
    """
    spec = context.cluster.spec
    objects = [settings.config_map(context), *network.client_services(context, gateways=gateways)]
    for component, asked in workloads.components(context.cluster).items():
        held = owner_replicas if component == OWNER else None
        objects.append(workloads.stateful_set(context, component, replicas=held))
        objects += _around(context, component)
        if asked.autoscaling is not None:
            objects.append(scaling.autoscaler(context, component, asked.autoscaling))
    if spec.etcd.managed is not None:
        objects.append(etcd.stateful_set(context, spec.etcd.managed))
        objects += _around(context, ETCD)
        objects.append(etcd.defragmentation(context, spec.etcd.managed))
    if spec.metrics.service_monitor.enabled:
        objects.append(_service_monitor(context))
    order = {kind.kind: place for place, kind in enumerate(MADE)}
    return sorted(objects, key=lambda item: order[item["kind"]])


def _around(context: Context, component: str) -> list[Object]:
    objects = [
        workloads.service_account(context, component),
        network.headless(context, component),
        scaling.disruption_budget(context, component),
    ]
    if context.cluster.spec.network_policy.enabled:
        objects.append(network.network_policy(context, component))
    return objects


def _service_monitor(context: Context) -> Object:
    asked = context.cluster.spec.metrics.service_monitor
    body: dict[str, Any] = {
        "spec": {
            # Of the headless Services: NAME-broker has no admin port.
            "selector": {
                "matchLabels": {LABEL + "name": "kafscale", INSTANCE_LABEL: context.cluster.name},
            },
            "endpoints": [{"port": "admin", "interval": asked.interval}],
        }
    }
    return make(context, SERVICE_MONITORS, "metrics", "metrics", body, extra_labels=asked.labels)
