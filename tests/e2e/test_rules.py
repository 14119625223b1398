"""The CRDs' own rules (CEL) on a real API server: each refuses what it is about, in its own words.

Owns: one case for each rule. Does not own: types, ranges and names of fields (test_specs.py).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.api import MERGE, ApiError, Object
from tests.e2e.world import CHART, World

NAMESPACE = "rules"
_API = f"/apis/kafscale.io/v1alpha1/namespaces/{NAMESPACE}"
_HOST = {"host": "kafka.example.com", "type": "LoadBalancer"}

NAME = "the name begins names of Services: a letter, then letters, digits and dashes, at most 36"
BOUNDS = "minReplicas must not be above maxReplicas"
TARGET = "say at least one target: the API server would take CPU by itself"
COPY = "readBucket must be another bucket than bucket"
ONE_ETCD = "say either endpoints or managed"
OWN_ETCD = "tls and authSecretName belong to endpoints"
INDEX = "external.host has {index} where each gateway is advertised, and only there"
ONE_PORT = "one node port can't be several gateways: use LoadBalancer with instance"
LOW_PORT = "a node port can't be below 1024"
RETENTION = "ms and bytes must be at least 1, or -1 for no limit"
MS_TWICE = "say retention.ms by retentionMs or in config, not both"
BYTES_TWICE = "say retention.bytes by retentionBytes or in config, not both"
DOTS = "a topic can't be called . or .."

BUCKET = "bucket can't be changed: its data is the cluster"
PREFIX = "prefix can't be changed: what is below it is the cluster"
OTHER_ETCD = "an etcd can't be exchanged for another under a cluster"
VOLUMES = "volumes of a StatefulSet can't be changed"
CLUSTER_REF = "clusterRef can't be changed: make another resource"
TOPIC_NAME = "topicName can't be changed: make another resource"
GROW = "partitions only grow"

CLUSTER: Object = {"s3": {"bucket": "records"}, "etcd": {"managed": {"storageSize": "4Gi"}}}
TOPIC: Object = {"clusterRef": "ruled", "topicName": "orders", "partitions": 4}

NEW_CLUSTERS: list[tuple[str, Object]] = [
    *(
        (BOUNDS, {each: {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}})
        for each in ("gateway", "owner")
    ),
    (BOUNDS, {"metadata": {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}}),
    *(
        (TARGET, {each: {"autoscaling": {"maxReplicas": 9, "cpuPercent": 0, "memoryPercent": 0}}})
        for each in ("gateway", "owner", "metadata")
    ),
    (COPY, {"s3": {"bucket": "records", "readBucket": "records"}}),
    (ONE_ETCD, {"etcd": {"endpoints": ["http://etcd:2379"], "managed": {}}}),
    (ONE_ETCD, {"etcd": {}}),
    (OWN_ETCD, {"etcd": {"managed": {}, "tls": {"secretName": "etcd"}}}),
    (OWN_ETCD, {"etcd": {"managed": {}, "authSecretName": "etcd"}}),
    (INDEX, {"listeners": {"advertisedMode": "instance", "external": _HOST}}),
    (INDEX, {"listeners": {"external": {**_HOST, "host": "kafka-{index}.example.com"}}}),
    (
        ONE_PORT,
        {
            "listeners": {
                "advertisedMode": "instance",
                "external": {"type": "NodePort", "host": "kafka-{index}.example.com", "port": 30092},
            }
        },
    ),
    (LOW_PORT, {"listeners": {"external": {**_HOST, "type": "NodePort", "port": 92}}}),
    (RETENTION, {"config": {"defaultRetention": {"ms": 0}}}),
    (RETENTION, {"config": {"defaultRetention": {"bytes": 0}}}),
]
NEW_TOPICS: list[tuple[str, Object]] = [
    (MS_TWICE, {"retentionMs": 1, "config": {"retention.ms": "1"}}),
    (BYTES_TWICE, {"retentionBytes": 1, "config": {"retention.bytes": "1"}}),
    (DOTS, {"topicName": ".."}),
]
CHANGED_CLUSTERS: list[tuple[str, Object]] = [
    (BUCKET, {"s3": {"bucket": "other"}}),
    (PREFIX, {"s3": {"prefix": "other"}}),
    (OTHER_ETCD, {"etcd": {"managed": None, "endpoints": ["http://etcd:2379"]}}),
    (VOLUMES, {"etcd": {"managed": {"storageSize": "8Gi"}}}),
]
CHANGED_TOPICS: list[tuple[str, Object]] = [
    (CLUSTER_REF, {"clusterRef": "other"}),
    (TOPIC_NAME, {"topicName": "other"}),
    (GROW, {"partitions": 3}),
]


def _item(plural: str, name: str, spec: Object) -> Object:
    kind = {"kafscaleclusters": "KafscaleCluster", "kafscaletopics": "KafscaleTopic"}[plural]
    return {
        "apiVersion": "kafscale.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def _refused(world: World, method: str, path: str, body: Object, **more: Any) -> str:
    with pytest.raises(ApiError) as caught:
        world.call(method, path, body, dryRun="All", **more)
    assert caught.value.status == 422
    return caught.value.message


@pytest.fixture(scope="module")
def stored(world: World, operator: str) -> Iterator[None]:
    """A cluster and a topic that may be changed."""
    world.add_namespace(NAMESPACE)
    world.call("POST", f"{_API}/kafscaletopics", _item("kafscaletopics", "ruled", TOPIC))
    world.call("POST", f"{_API}/kafscaleclusters", _item("kafscaleclusters", "ruled", CLUSTER))
    yield
    world.call("DELETE", f"{_API}/kafscaleclusters/ruled")
    world.call("DELETE", f"{_API}/kafscaletopics/ruled")


def test_each_rule_has_a_case() -> None:
    cases = [NEW_CLUSTERS, NEW_TOPICS, CHANGED_CLUSTERS, CHANGED_TOPICS]
    messages: set[str] = set()
    for path in sorted(Path(CHART / "crds").glob("*.yaml")):
        messages |= set(_messages(yaml.safe_load(path.read_text())))
    assert messages == {NAME, *(message for each in cases for message, _ in each)}


def _messages(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", ()))
        for each in schema.values():
            yield from _messages(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _messages(each)


@pytest.mark.parametrize("name", ["a" * 37, "1st"])
def test_a_name_that_can_not_begin_others_is_refused(world: World, stored: None, name: str) -> None:
    body = _item("kafscaleclusters", name, CLUSTER)
    assert NAME in _refused(world, "POST", f"{_API}/kafscaleclusters", body)


@pytest.mark.parametrize(("message", "change"), NEW_CLUSTERS)
def test_a_new_cluster_is_refused(world: World, stored: None, message: str, change: Object) -> None:
    body = _item("kafscaleclusters", "new", {**CLUSTER, **change})
    assert message in _refused(world, "POST", f"{_API}/kafscaleclusters", body)


@pytest.mark.parametrize(("message", "change"), NEW_TOPICS)
def test_a_new_topic_is_refused(world: World, stored: None, message: str, change: Object) -> None:
    body = _item("kafscaletopics", "new", {**TOPIC, **change})
    assert message in _refused(world, "POST", f"{_API}/kafscaletopics", body)


@pytest.mark.parametrize(("message", "change"), CHANGED_CLUSTERS)
def test_a_change_of_a_cluster_is_refused(world: World, stored: None, message: str, change: Object) -> None:
    path, body = f"{_API}/kafscaleclusters/ruled", {"spec": change}
    assert message in _refused(world, "PATCH", path, body, content_type=MERGE)


@pytest.mark.parametrize(("message", "change"), CHANGED_TOPICS)
def test_a_change_of_a_topic_is_refused(world: World, stored: None, message: str, change: Object) -> None:
    path, body = f"{_API}/kafscaletopics/ruled", {"spec": change}
    assert message in _refused(world, "PATCH", path, body, content_type=MERGE)
