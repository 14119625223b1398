"""Writes what the charts know of values and settings, from the code. `python -m tools.chart_schema`.

Owns: each chart's values.schema.json, and the template that says which KAFSCALE_* each service reads.
Does not own: settings (each service's config.py), the values themselves.
Rules: 1 a key that no template reads is refused, so that a typing error is told; 2 what Kubernetes defines
(affinity, resources) is passed through unseen; 3 what the chart sets by itself is no value of `config`.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from libs.chassis.config import ServiceSettings, variable_of
from services.gateway.config import GatewaySettings
from services.metadata.config import MetadataSettings
from services.operator.config import OperatorSettings
from services.partition_owner.config import OwnerSettings

CHART = Path(__file__).resolve().parent.parent / "charts" / "kafscale"
READS = CHART / "charts" / "common" / "templates" / "_reads.tpl"


SERVICES: Mapping[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "partition-owner": OwnerSettings,
    "metadata": MetadataSettings,
    "operator": OperatorSettings,
}
SECTIONS: Mapping[str, str] = {
    "gateway": "gateway",
    "partition-owner": "partitionOwner",
    "metadata": "metadata",
    "operator": "operator",
}
# Where a pod's own life decides: set in its template, for each service differently.
OF_THE_POD = frozenset(
    {
        *("instance", "zone", "bind_host", "admin_port", "kafka_port", "rpc_port", "data_dir"),
        *("kafka_tls_cert_file", "kafka_tls_key_file"),
        *("advertised_rpc_address", "advertised_mode", "advertised_host", "advertised_port"),
        *("s3_access_key", "s3_secret_key", "etcd_username", "etcd_password"),
        *("operator_namespace", "operator_watch_namespaces", "operator_image", "operator_kubeconfig"),
    }
)
# What NAME-config has from other values than `config`.
BY_OTHER_VALUES = frozenset(
    {
        *("cluster", "metadata_addresses", "s3_bucket", "s3_region", "s3_endpoint", "s3_namespace"),
        *("s3_kms_key", "s3_read_bucket"),
        *("etcd_endpoints", "etcd_ca_file", "etcd_cert_file", "etcd_key_file"),
    }
)
CUSTOM_METRICS: Mapping[str, tuple[str, ...]] = {
    "gateway": ("producedBytesPerSecond", "inFlightBytes", "connections"),
    "partition-owner": ("producedBytesPerSecond", "bufferBytes"),
    "metadata": ("watchers",),
}

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
SWITCH: Schema = {"type": "boolean"}
ANYTHING: Schema = {"type": "object"}
LIST: Schema = {"type": "array"}
WORDS: Schema = {"type": "array", "items": TEXT}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
QUANTITY: Schema = {"type": ["integer", "string"], "pattern": r"^[0-9.]+(m|[kKMGT]i?)?$"}
PORT: Schema = {"type": "integer", "minimum": 0, "maximum": 65535}
_IMAGE_VERSION: Mapping[str, Schema] = {
    "tag": TEXT,
    "digest": TEXT | {"pattern": "^(sha256:[0-9a-f]{64})?$"},
}


def closed(properties: Mapping[str, Schema]) -> Schema:
    """An object with these keys and no others."""
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def count(least: int = 0, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most})


def reads(service: str) -> list[str]:
    """The shared settings that a service knows: the keys of NAME-config that its pods take."""
    return sorted(variable_of(field) for field in SERVICES[service].model_fields.keys() - OF_THE_POD)


def reads_template() -> str:
    """Named templates, each a JSON list, as Helm lets a subchart share nothing else."""
    parts = ["{{/* Written by `python -m tools.chart_schema` from the code; don't edit it by hand. */}}\n"]
    for service in SERVICES:
        listed = json.dumps(reads(service), indent=2)
        parts.append(f'\n{{{{- define "kafscale.reads.{service}" -}}}}\n{listed}\n{{{{- end -}}}}\n')
    return "".join(parts)


def config(*services: str) -> Schema:
    """The KAFSCALE_* that these services read and that a user may set, each with its limits."""
    fields: dict[str, FieldInfo] = {}
    for service in services:
        fields |= SERVICES[service].model_fields
    own = {"zone"} if len(services) == 1 else set()
    free = fields.keys() - (OF_THE_POD - own) - BY_OTHER_VALUES
    return closed({variable_of(field): _setting(fields[field]) for field in sorted(free)})


def _setting(info: FieldInfo) -> Schema:
    said: Schema = {"description": info.description} if info.description else {}
    annotation = info.annotation
    if get_origin(annotation) is Literal:
        return said | {"enum": list(get_args(annotation))}
    if annotation is bool:
        return said | {"enum": [True, False, "true", "false"]}
    if annotation is int:
        sign = "-?" if any(getattr(each, "ge", 0) < 0 for each in info.metadata) else ""
        return said | {"type": ["integer", "string"], "pattern": rf"^{sign}\d+$"} | _limits(info)
    if annotation is float:
        return said | {"type": ["number", "string"], "pattern": r"^\d+(\.\d+)?$"} | _limits(info)
    return said | TEXT | _limits(info)


def _limits(info: FieldInfo) -> Schema:
    named = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    return {
        keyword: value
        for each in info.metadata
        for attribute, keyword in {**named, "pattern": "pattern"}.items()
        if (value := getattr(each, attribute, None)) is not None
    }


def global_schema() -> Schema:
    """What all services share."""
    return closed(
        {
            "name": TEXT | {"maxLength": 36, "pattern": "^([a-z]([a-z0-9-]*[a-z0-9])?)?$"},
            "cluster": TEXT | {"pattern": "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"},
            "image": closed(
                {
                    "repository": TEXT | {"minLength": 1},
                    **_IMAGE_VERSION,
                    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                    "pullSecrets": WORDS,
                }
            ),
            "s3": closed(
                {
                    "bucket": TEXT | {"pattern": "^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$"},
                    "readBucket": TEXT | {"pattern": "^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$"},
                    "region": TEXT,
                    "endpoint": TEXT | {"pattern": "^(https?://.+)?$"},
                    "prefix": TEXT,
                    "kmsKey": TEXT | {"pattern": "^[a-zA-Z0-9:/_-]*$", "maxLength": 2048},
                    **dict.fromkeys(("credentialsSecret", "accessKey", "secretKey"), TEXT),
                }
            ),
            "etcd": closed(
                {
                    "endpoints": {"type": "array", "items": TEXT | {"pattern": "^https?://.+"}},
                    **dict.fromkeys(("credentialsSecret", "username", "password", "tlsSecret"), TEXT),
                    "clientCertificate": SWITCH,
                }
            ),
            "metadataAddresses": {"type": "array", "items": TEXT | {"pattern": "^[^/]+:[0-9]+$"}},
            "config": config("gateway", "partition-owner", "metadata"),
        }
    )


def section(service: str) -> Schema:
    """One service's values."""
    # Who may connect to 9094, which two of them don't have: there an older release's default alone is taken.
    peers = LIST if service in ("partition-owner", "metadata") else LIST | {"maxItems": 0}
    policy = {"enabled": SWITCH, "metricsFrom": LIST, "peers": peers}
    properties: dict[str, Schema] = {
        "replicas": count(0),
        "config": config(service),
        "image": closed({"repository": TEXT, **_IMAGE_VERSION}),
        "resources": ANYTHING,
        "podDisruptionBudget": closed({"enabled": SWITCH}),
        "networkPolicy": closed(policy),
        "serviceAccount": closed({"annotations": TEXTS}),
        "podAnnotations": TEXTS,
        "podLabels": TEXTS,
        "priorityClassName": TEXT,
        "nodeSelector": TEXTS,
        "tolerations": LIST,
        "affinity": ANYTHING,
    }
    if service == "operator":
        return closed({**properties, "watchNamespaces": WORDS})
    properties["autoscaling"] = closed(
        {
            "enabled": SWITCH,
            "minReplicas": count(1),
            "maxReplicas": count(1),
            "targetCPUUtilizationPercentage": count(0, 1000),
            "targetMemoryUtilizationPercentage": count(0, 1000),
            "scaleDownStabilizationSeconds": count(0, 3600),
            "customMetrics": closed(dict.fromkeys(CUSTOM_METRICS[service], QUANTITY)),
        }
    )
    if service == "gateway":
        properties["listeners"] = closed(
            {
                "advertisedMode": {"enum": ["instance", "service"]},
                "advertisedHost": TEXT,
                "advertisedPort": PORT,
                "tlsSecret": TEXT,
                "external": closed(
                    {
                        "type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
                        "annotations": TEXTS,
                        "nodePort": PORT,
                        "loadBalancerClass": TEXT,
                        "loadBalancerSourceRanges": WORDS,
                        "externalTrafficPolicy": {"enum": ["", "Cluster", "Local"]},
                    }
                ),
            }
        )
    return closed(properties)


def _with(schema: Schema, **properties: Schema) -> Schema:
    return schema | {"properties": schema["properties"] | properties}


def subchart_schema(service: str) -> Schema:
    """A section's schema, with what Helm adds to a subchart's values.

    `global` is looked at by the umbrella alone: else each mistake in it would be told five times.
    """
    added = {"enabled": SWITCH, "common": ANYTHING, "global": ANYTHING}
    return _document(_with(section(service), **added))


def umbrella_schema() -> Schema:
    """The umbrella's own values. Sections are left to their charts, which Helm asks as well: told once."""
    labelled = {"enabled": SWITCH, "labels": TEXTS}
    return _document(
        closed(
            {
                "global": global_schema(),
                "common": ANYTHING,
                **{key: ANYTHING | {"properties": {"enabled": SWITCH}} for key in SECTIONS.values()},
                "monitoring": closed(
                    {
                        "dashboard": closed({**labelled, "annotations": TEXTS}),
                        "serviceMonitor": closed({**labelled, "interval": TEXT}),
                        "prometheusRule": closed(labelled),
                    }
                ),
                "tests": closed({"enabled": SWITCH, "topic": TEXT | {"pattern": "^[a-zA-Z0-9._-]{1,249}$"}}),
            }
        )
    )


def _document(schema: Schema) -> Schema:
    said = "Written by python -m tools.chart_schema; don't edit it by hand."
    return {"$schema": "http://json-schema.org/draft-07/schema#", "$comment": said} | schema


def files() -> dict[Path, str]:
    """Every file that is written, with its text."""
    schemas = {CHART: umbrella_schema()}
    schemas |= {CHART / "charts" / service: subchart_schema(service) for service in SERVICES}
    written = {
        folder / "values.schema.json": json.dumps(schema, indent=2) + "\n"
        for folder, schema in schemas.items()
    }
    return written | {READS: reads_template()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
        sys.stdout.write(f"{path}\n")
