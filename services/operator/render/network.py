"""How pods are reached, and by whom: Services and NetworkPolicies.

Owns: the headless Service of each StatefulSet, NAME-broker, one Service a gateway where that is asked for.
"""

from typing import Any

from services.operator.kinds import NETWORK_POLICIES, SERVICES, Object
from services.operator.render.common import (
    ADMIN_PORT,
    ETCD,
    ETCD_PEER_PORT,
    ETCD_PORT,
    GATEWAY,
    INSTANCE_LABEL,
    KAFKA_PORT,
    LABEL,
    METADATA,
    OWNER,
    RPC_PORT,
    Context,
    make,
    selector,
)
from services.operator.spec import External

_PORTS = {
    GATEWAY: {"kafka": KAFKA_PORT, "admin": ADMIN_PORT},
    OWNER: {"admin": ADMIN_PORT, "rpc": RPC_PORT},
    METADATA: {"admin": ADMIN_PORT, "rpc": RPC_PORT},
    ETCD: {"client": ETCD_PORT, "peer": ETCD_PEER_PORT},
}


def headless(context: Context, component: str) -> Object:
    """Also names pods that are not ready: etcd's members find each other so."""
    spec: Object = {
        "clusterIP": "None",
        "selector": selector(context.cluster, component),
        "ports": _ports(_PORTS[component]),
    }
    if component == ETCD:
        spec["publishNotReadyAddresses"] = True  # false is not kept: it would be applied again for ever
    return make(context, SERVICES, component, component, {"spec": spec})


def client_services(context: Context, *, gateways: int) -> list[Object]:
    """NAME-broker for bootstrapping, and one for each gateway that is reached from outside by itself."""
    listeners = context.cluster.spec.listeners
    external = listeners.external
    by_instance = external is not None and listeners.advertised_mode == "instance"
    broker = _client_service(context, "broker", selector(context.cluster, GATEWAY), external, index="broker")
    if not by_instance:
        return [broker]
    gateway = context.cluster.spec.gateway
    count = gateway.autoscaling.max_replicas if gateway.autoscaling else gateway.replicas
    return [broker, *(_gateway_service(context, external, index) for index in range(max(count, gateways)))]


def _gateway_service(context: Context, external: External | None, index: int) -> Object:
    pod = f"{GATEWAY}-{index}"
    select = {
        **selector(context.cluster, GATEWAY),
        "statefulset.kubernetes.io/pod-name": context.name(pod),
    }
    return _client_service(context, pod, select, external, index=str(index))


def _client_service(
    context: Context, suffix: str, select: dict[str, str], external: External | None, *, index: str
) -> Object:
    """`index` is what {index} in an annotation becomes: a name in the DNS is of one of them only."""
    port = external.port if external is not None and external.type == "LoadBalancer" else KAFKA_PORT
    ports = [{"name": "kafka", "port": port, "targetPort": "kafka", "protocol": "TCP"}]
    if external is not None and external.type == "NodePort" and suffix == "broker":
        ports[0]["nodePort"] = external.port
    body = {
        "spec": {
            "type": "ClusterIP" if external is None else external.type,
            "selector": select,
            "ports": ports,
        }
    }
    asked = {} if external is None else external.annotations
    annotations = {name: value.replace("{index}", index) for name, value in asked.items()}
    return make(context, SERVICES, suffix, GATEWAY, body, annotations=annotations)


def network_policy(context: Context, component: str) -> Object:
    """Kafka and the admin port for all; what services say to each other for this cluster's pods only."""
    own = {"podSelector": {"matchLabels": {LABEL + "name": "kafscale", INSTANCE_LABEL: context.cluster.name}}}
    operator = {
        "namespaceSelector": {},
        "podSelector": {
            "matchLabels": {LABEL + "name": "kafscale", LABEL + "component": "operator"},
        },
    }
    ingress: dict[str, list[dict[str, Any]]] = {
        GATEWAY: [_allow(KAFKA_PORT, ADMIN_PORT)],
        OWNER: [_allow(RPC_PORT, sources=[own]), _allow(ADMIN_PORT)],
        METADATA: [_allow(RPC_PORT, sources=[own, operator]), _allow(ADMIN_PORT)],
        ETCD: [_allow(ETCD_PORT, ETCD_PEER_PORT, sources=[own])],
    }
    body = {
        "spec": {
            "podSelector": {"matchLabels": selector(context.cluster, component)},
            "policyTypes": ["Ingress"],
            "ingress": ingress[component],
        }
    }
    return make(context, NETWORK_POLICIES, component, component, body)


def _allow(*ports: int, sources: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"from": sources, "ports": [{"port": port, "protocol": "TCP"} for port in ports]}


def _ports(ports: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"name": name, "port": port, "targetPort": port, "protocol": "TCP"} for name, port in ports.items()
    ]
