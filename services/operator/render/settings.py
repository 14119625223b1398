"""A cluster's settings: the ConfigMap that all services read, and what differs by service and pod.

Owns: which field of the spec is which KAFSCALE_* variable. Does not own: their meaning (docs/settings.md).
Rules: 1 a service refuses a variable that it doesn't know, so each names the keys that it reads; 2 a variable
that others refer to, as $(POD_NAME), comes before them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from services.operator.kinds import CONFIG_MAPS, Object
from services.operator.render.common import (
    ETCD,
    ETCD_PORT,
    GATEWAY,
    KAFKA_PORT,
    METADATA,
    OWNER,
    RPC_PORT,
    Context,
    make,
)
from services.operator.spec import Component, Model

ETCD_MEMBERS = 3
ETCD_TLS_PATH = "/etc/kafscale/etcd-tls"
KAFKA_TLS_PATH = "/etc/kafscale/kafka-tls"

_EVERY = ("KAFSCALE_BIND_HOST", "KAFSCALE_CLUSTER", "KAFSCALE_DRAIN_SECONDS", "KAFSCALE_LOG_LEVEL")
_READ_BY: Mapping[str, tuple[str, ...]] = {
    GATEWAY: (
        *(*_EVERY, "KAFSCALE_AUTO_CREATE_TOPICS", "KAFSCALE_METADATA_ADDRESSES"),
        *("KAFSCALE_DEFAULT_RETENTION_BYTES", "KAFSCALE_DEFAULT_RETENTION_MS"),
        *("KAFSCALE_KAFKA_TLS_CERT_FILE", "KAFSCALE_KAFKA_TLS_KEY_FILE"),
    ),
    OWNER: (
        *(*_EVERY, "KAFSCALE_METADATA_ADDRESSES", "KAFSCALE_S3_BUCKET", "KAFSCALE_S3_ENDPOINT"),
        *(
            "KAFSCALE_S3_READ_BUCKET",
            "KAFSCALE_S3_KMS_KEY",
            "KAFSCALE_S3_NAMESPACE",
            "KAFSCALE_S3_REGION",
            "KAFSCALE_SEGMENT_BYTES_MAX",
        ),
        *("KAFSCALE_FLUSH_AGE_MS_MAX", "KAFSCALE_FLUSH_LINGER_MS", "KAFSCALE_FLUSH_PUTS_PER_SECOND"),
        *("KAFSCALE_DEFAULT_RETENTION_BYTES", "KAFSCALE_DEFAULT_RETENTION_MS"),
        *("KAFSCALE_COLD_CACHE_BYTES_MAX", "KAFSCALE_TAIL_CACHE_BYTES_MAX", "KAFSCALE_SNAPSHOT_SECONDS"),
    ),
    METADATA: (
        *(*_EVERY, "KAFSCALE_DEFAULT_PARTITIONS", "KAFSCALE_ETCD_CA_FILE", "KAFSCALE_ETCD_CERT_FILE"),
        *("KAFSCALE_ETCD_ENDPOINTS", "KAFSCALE_ETCD_KEY_FILE", "KAFSCALE_LEASE_SECONDS"),
    ),
}

_NEVER_LEFT_OUT = frozenset(
    {"KAFSCALE_CLUSTER", "KAFSCALE_METADATA_ADDRESSES", "KAFSCALE_S3_BUCKET", "KAFSCALE_ETCD_ENDPOINTS"}
)


def settings(context: Context) -> dict[str, str]:
    """Everything that is no secret and the same for all pods; empty ones are left out."""
    spec = context.cluster.spec
    config, s3, listeners = spec.config, spec.s3, spec.listeners
    tls = spec.etcd.tls
    values: dict[str, Any] = {
        "KAFSCALE_CLUSTER": context.cluster.name,
        "KAFSCALE_BIND_HOST": "0.0.0.0",  # noqa: S104 - a pod's own network; NetworkPolicies say who may call
        "KAFSCALE_LOG_LEVEL": config.log_level,
        "KAFSCALE_DRAIN_SECONDS": config.drain_seconds,
        "KAFSCALE_METADATA_ADDRESSES": f"{context.name(METADATA)}:{RPC_PORT}",
        "KAFSCALE_KAFKA_TLS_CERT_FILE": f"{KAFKA_TLS_PATH}/tls.crt" if listeners.tls_secret else None,
        "KAFSCALE_KAFKA_TLS_KEY_FILE": f"{KAFKA_TLS_PATH}/tls.key" if listeners.tls_secret else None,
        "KAFSCALE_AUTO_CREATE_TOPICS": config.auto_create_topics,
        "KAFSCALE_DEFAULT_PARTITIONS": config.default_partitions,
        "KAFSCALE_DEFAULT_RETENTION_BYTES": _unless_default(config.default_retention, "bytes"),
        "KAFSCALE_DEFAULT_RETENTION_MS": _unless_default(config.default_retention, "ms"),
        "KAFSCALE_LEASE_SECONDS": config.lease_seconds,
        "KAFSCALE_ETCD_ENDPOINTS": ",".join(spec.etcd.endpoints or managed_endpoints(context)),
        "KAFSCALE_ETCD_CA_FILE": f"{ETCD_TLS_PATH}/ca.crt" if tls else None,
        "KAFSCALE_ETCD_CERT_FILE": f"{ETCD_TLS_PATH}/tls.crt" if tls and tls.client_certificate else None,
        "KAFSCALE_ETCD_KEY_FILE": f"{ETCD_TLS_PATH}/tls.key" if tls and tls.client_certificate else None,
        "KAFSCALE_S3_BUCKET": s3.bucket,
        "KAFSCALE_S3_READ_BUCKET": s3.read_bucket,
        "KAFSCALE_S3_REGION": s3.region,
        "KAFSCALE_S3_ENDPOINT": s3.endpoint,
        "KAFSCALE_S3_NAMESPACE": s3.prefix,
        "KAFSCALE_S3_KMS_KEY": s3.kms_key,
        "KAFSCALE_SEGMENT_BYTES_MAX": config.segment_bytes,
        "KAFSCALE_FLUSH_LINGER_MS": config.flush_linger_ms,
        "KAFSCALE_FLUSH_AGE_MS_MAX": config.flush_age_ms,
        "KAFSCALE_FLUSH_PUTS_PER_SECOND": config.flush_puts_per_second,
        "KAFSCALE_TAIL_CACHE_BYTES_MAX": config.tail_cache_bytes,
        "KAFSCALE_COLD_CACHE_BYTES_MAX": config.cold_cache_bytes,
        "KAFSCALE_SNAPSHOT_SECONDS": config.snapshot_seconds,
    }
    return {key: text for key, value in values.items() if (text := _text(value))}


def _unless_default(asked: Model, field: str) -> Any:
    """None where it is the default: an older image, which refuses what it does not know, goes on running."""
    value = getattr(asked, field)
    return None if value == type(asked).model_fields[field].default else value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def managed_endpoints(context: Context) -> list[str]:
    name = context.name(ETCD)
    return [f"http://{name}-{index}.{context.host(ETCD)}:{ETCD_PORT}" for index in range(ETCD_MEMBERS)]


def config_map(context: Context) -> Object:
    return make(context, CONFIG_MAPS, "config", "config", {"data": settings(context)})


def config_hash(context: Context, component: str) -> str:
    """Changes when a setting that this service reads does: then its pods are made anew, and no others."""
    read = {key: value for key, value in settings(context).items() if key in _READ_BY[component]}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]


def env(context: Context, component: str) -> list[dict[str, Any]]:
    """The variables of one service's container."""
    values, name = settings(context), context.name("config")
    config = [
        {"name": key, "valueFrom": {"configMapKeyRef": {"name": name, "key": key, **_optional(key)}}}
        for key in _READ_BY[component]
        if key in values
    ]
    return [
        _field("POD_NAME", "metadata.name"),
        _field("POD_IP", "status.podIP"),
        {"name": "KAFSCALE_INSTANCE", "value": "$(POD_NAME)"},
        # From Kubernetes 1.35 on a pod has its node's zone as a label; before, this is empty, which is unset.
        _field("KAFSCALE_ZONE", "metadata.labels['topology.kubernetes.io/zone']"),
        *config,
        *_OWN[component](context),
    ]


def _optional(key: str) -> dict[str, bool]:
    """A setting that is left out by now may not keep a pod of before from starting again."""
    return {} if key in _NEVER_LEFT_OUT else {"optional": True}


def _gateway_env(context: Context) -> list[dict[str, Any]]:
    """What clients are told is in the pod and not in the ConfigMap: it may not be ahead of the Services."""
    listeners = context.cluster.spec.listeners
    index = _field("POD_INDEX", "metadata.labels['apps.kubernetes.io/pod-index']")
    if listeners.external is not None:
        host = listeners.external.host.replace("{index}", "$(POD_INDEX)")
    elif listeners.advertised_mode == "instance":
        host = f"$(POD_NAME).{context.host(GATEWAY)}"
    else:
        host = context.host("broker")
    port = KAFKA_PORT if listeners.external is None else listeners.external.port
    return [
        index,
        {"name": "KAFSCALE_ADVERTISED_MODE", "value": listeners.advertised_mode},
        {"name": "KAFSCALE_ADVERTISED_HOST", "value": host},
        {"name": "KAFSCALE_ADVERTISED_PORT", "value": str(port)},
    ]


def _owner_env(context: Context) -> list[dict[str, Any]]:
    secret = context.cluster.spec.s3.credentials_secret_name
    keys = ("KAFSCALE_S3_ACCESS_KEY", "KAFSCALE_S3_SECRET_KEY") if secret else ()
    return [_RPC_ADDRESS, *(_secret(key, secret) for key in keys)]


def _metadata_env(context: Context) -> list[dict[str, Any]]:
    secret = context.cluster.spec.etcd.auth_secret_name
    keys = ("KAFSCALE_ETCD_USERNAME", "KAFSCALE_ETCD_PASSWORD") if secret else ()
    return [_RPC_ADDRESS, *(_secret(key, secret) for key in keys)]


def image(context: Context, component: Component) -> str:
    return component.image or context.cluster.spec.image or context.default_image


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _secret(key: str, name: str) -> dict[str, Any]:
    return {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


_RPC_ADDRESS = {"name": "KAFSCALE_ADVERTISED_RPC_ADDRESS", "value": f"$(POD_IP):{RPC_PORT}"}
_OWN = {GATEWAY: _gateway_env, OWNER: _owner_env, METADATA: _metadata_env}
