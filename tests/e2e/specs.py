"""Random specs of our resources, right and wrong, from the CRDs' own schemas.

Owns: what is drawn, which field of a wrong one is wrong. Does not own: the judgement (test_specs.py).
"""

import copy
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.e2e.api import Object
from tests.e2e.world import CHART

UNKNOWN = "noSuchField"

CLUSTER_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "image": ("kafscale:1.0.0", "some/kafscale:2"),
    "imagePullSecrets": (["registry"], ["one", "two"]),
    "gateway.replicas": (1, 7, 1000),
    "gateway.zones": (["a"], ["a", "b"]),
    "gateway.nodeSelector": ({"disk": "fast"},),
    "gateway.resources": ({"requests": {"cpu": "1500m", "memory": "1Gi"}}, {"limits": {"cpu": 2}}),
    "gateway.tolerations": ([{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],),
    "owner.replicas": (1, 3, 12),
    "owner.autoscaling": ({"maxReplicas": 9}, {"minReplicas": 3, "maxReplicas": 3, "bufferBytes": 1 << 28}),
    "owner.priorityClassName": ("high",),
    "owner.affinity": ({"nodeAffinity": {}},),
    "metadata.replicas": (1, 5),
    "metadata.autoscaling": ({"maxReplicas": 4, "cpuPercent": 0, "watchers": 100},),
    "gateway.autoscaling": ({"maxReplicas": 2, "scaleDownStabilizationSeconds": 0},),
    "s3.region": ("eu-central-1",),
    "s3.endpoint": ("http://minio:9000",),
    "s3.prefix": ("orders",),
    "s3.credentialsSecretName": ("kafscale-s3",),
    "config.logLevel": ("debug", "error"),
    "config.segmentBytes": (65536, 536870912),
    "config.flushLingerMs": (0, 0.5, 50),
    "config.autoCreateTopics": (False, True),
    "config.leaseSeconds": (2, 6.5),
    "listeners.advertisedMode": ("service",),
    "metrics.serviceMonitor": ({"enabled": True, "interval": "10s"},),
    "networkPolicy.enabled": (False,),
}
"""Field -> values that are right by themselves and beside each other."""

TOPIC_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "topicName": ("orders", "a.b_c-D", "x" * 249),
    "partitions": (1, 16, 1024),
    "retentionMs": (-1, 1, 604800000),
    "retentionBytes": (-1, 1 << 40),
    "config": ({"segment.bytes": "1048576"}, {"cleanup.policy": "delete"}),
    "deletionPolicy": ("retain", "delete"),
    "adopt": (True, False),
}


class Wrong(NamedTuple):
    spec: Object
    field: str
    """The name that a refusal has to say."""


def schema_of(plural: str) -> Object:
    """Of `spec`."""
    crd: Object = yaml.safe_load(Path(CHART / "crds" / f"{plural}.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    found: Object = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def cluster(draw: random.Random) -> Object:
    """One that has to be accepted."""
    etcd: Object = draw.choice([{"endpoints": ["http://etcd:2379"]}, {"managed": {"storageSize": "4Gi"}}])
    return _chosen({"s3": {"bucket": "records"}, "etcd": etcd}, CLUSTER_CHOICES, draw)


def topic(draw: random.Random) -> Object:
    """One that has to be accepted."""
    return _chosen({"clusterRef": "events"}, TOPIC_CHOICES, draw)


def broken(spec: Object, schema: Object, draw: random.Random) -> Wrong:
    """The same with one field wrong: its type, its range, a name that nobody knows, or missing."""
    wrong = copy.deepcopy(spec)
    places = [place for place in _places(schema, ()) if place.path]
    kind = draw.random()
    if kind < 0.15:
        objects = [()] + [place.path for place in places if "properties" in place.schema]
        path = (*draw.choice(objects), UNKNOWN)
        _put(wrong, path, 1)
        return Wrong(wrong, UNKNOWN)
    if kind < 0.25:
        name = draw.choice(schema["required"])
        del wrong[name]
        return Wrong(wrong, name)
    place = draw.choice(places)
    _put(wrong, place.path, draw.choice(_violations(place.schema)))
    return Wrong(wrong, place.path[-1])


class _Place(NamedTuple):
    path: tuple[str, ...]
    schema: Object


def _places(schema: Object, path: tuple[str, ...]) -> Iterator[_Place]:
    """Every field; nothing inside lists and free objects."""
    if not schema.get("x-kubernetes-preserve-unknown-fields"):
        yield _Place(path, schema)
        for name, inner in (schema.get("properties") or {}).items():
            yield from _places(inner, (*path, name))


def _violations(schema: Object) -> list[Any]:
    kind = schema["type"]
    if kind in ("integer", "number"):
        bounds = [schema["minimum"] - 1] if "minimum" in schema else []
        bounds += [schema["maximum"] + 1] if "maximum" in schema else []
        return [*bounds, "some"]
    if kind == "string":
        found: list[Any] = [7, ["text"]]
        if "enum" in schema:
            found.append("nonsense")
        elif "maxLength" in schema:
            found.append("x" * (schema["maxLength"] + 1))
        return found
    return ["text", 7]


def _chosen(spec: Object, choices: Mapping[str, tuple[Any, ...]], draw: random.Random) -> Object:
    share = draw.random()
    for field, values in choices.items():
        if draw.random() < share:
            _put(spec, tuple(field.split(".")), copy.deepcopy(draw.choice(values)))
    return spec


def _put(spec: Object, path: tuple[str, ...], value: Any) -> None:
    at = spec
    for name in path[:-1]:
        if not isinstance(at.get(name), dict):
            at[name] = {}
        at = at[name]
    at[path[-1]] = value
