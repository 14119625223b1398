"""Objects of a cluster: named as planned, of fields that Kubernetes has, settings that services take."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes.client
import pytest
from hypothesis import given, settings

from libs.chassis.config import ServiceSettings
from services.gateway.config import GatewaySettings
from services.metadata.config import MetadataSettings
from services.operator.kinds import SERVICE_MONITORS, Object, key_of
from services.operator.render.cluster import render
from services.operator.render.settings import settings as shared_settings
from services.operator.render.workloads import components
from services.partition_owner.config import OwnerSettings
from tests.unit.services.operator.making import SPECS, context

SERVICES: dict[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "partition-owner": OwnerSettings,
    "metadata": MetadataSettings,
}


class _Response:
    """What the client's deserialize wants."""

    def __init__(self, data: Object) -> None:
        self.data = json.dumps(data)


def _filled(text: str, environ: dict[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda name: environ[name[1]], text)


def by_name(spec: dict[str, Any] | None = None) -> dict[tuple[str, str], Object]:
    return {(item["kind"], item["metadata"]["name"]): item for item in render(context(spec))}


def test_names_are_those_of_the_plan() -> None:
    names = set(by_name({"etcd": {"managed": {}}, "owner": {"autoscaling": {"maxReplicas": 5}}}))
    for component in ("gateway", "partition-owner", "metadata", "etcd"):
        for kind in ("StatefulSet", "Service", "PodDisruptionBudget", "ServiceAccount", "NetworkPolicy"):
            assert (kind, f"kafka-{component}") in names
    assert {("Service", "kafka-broker"), ("ConfigMap", "kafka-config")} <= names
    assert ("HorizontalPodAutoscaler", "kafka-partition-owner") in names
    assert ("HorizontalPodAutoscaler", "kafka-gateway") not in names


def test_autoscaling_without_a_target_is_left_to_the_api_server() -> None:
    """The CRD refuses it now; one that is stored goes on, as before."""
    autoscaling = {"maxReplicas": 5, "cpuPercent": 0, "memoryPercent": 0}
    made = by_name({"owner": {"autoscaling": autoscaling}})
    assert "metrics" not in made["HorizontalPodAutoscaler", "kafka-partition-owner"]["spec"]


@given(spec=SPECS)
@settings(max_examples=40, deadline=None)
def test_every_field_is_one_that_kubernetes_has(spec: dict[str, Any]) -> None:
    """Reading an object into the client's model drops unknown fields, so writing it again shows them."""
    client = kubernetes.client.ApiClient()
    for item in render(context(spec)):
        if item["kind"] == SERVICE_MONITORS.kind:
            continue
        version = item["apiVersion"].rpartition("/")[2]
        model = f"{version[0].upper()}{version[1:]}{item['kind']}"
        read = client.deserialize(_Response(item), model)
        assert client.sanitize_for_serialization(read) == item


@given(spec=SPECS)
@settings(max_examples=40, deadline=None)
def test_each_service_takes_the_variables_of_its_pods(spec: dict[str, Any]) -> None:
    made = context(spec)
    shared = shared_settings(made)
    for component, settings_class in SERVICES.items():
        item = next(
            item
            for item in render(made)
            if item["kind"] == "StatefulSet" and item["metadata"]["name"] == f"kafka-{component}"
        )
        environ: dict[str, str] = {"POD_NAME": "pod-0", "POD_IP": "10.0.0.1", "POD_INDEX": "0"}
        for each in item["spec"]["template"]["spec"]["containers"][0]["env"]:
            source = each.get("valueFrom", {})
            if "configMapKeyRef" in source:
                environ[each["name"]] = shared[source["configMapKeyRef"]["key"]]
            elif "secretKeyRef" in source:
                environ[each["name"]] = "secret"
            elif "value" in each:
                # Kubernetes replaces only what was named before.
                environ[each["name"]] = _filled(each["value"], environ)
        loaded = settings_class.load(argv=[], environ=environ)
        assert loaded.instance == "pod-0"
        assert loaded.bind_host == "0.0.0.0"


@given(spec=SPECS)
@settings(max_examples=40, deadline=None)
def test_no_name_is_twice_and_an_hpa_takes_the_count(spec: dict[str, Any]) -> None:
    made = context(spec)
    items = render(made)
    assert len({key_of(item) for item in items}) == len(items)
    for component, asked in components(made.cluster).items():
        item = next(
            item
            for item in items
            if item["kind"] == "StatefulSet" and item["metadata"]["name"] == f"kafka-{component}"
        )
        assert ("replicas" in item["spec"]) == (asked.autoscaling is None)


def test_a_config_restarts_only_those_that_read_it() -> None:
    def hashes(config: dict[str, Any]) -> dict[str, Any]:
        return {
            name: item["spec"]["template"]["metadata"]["annotations"]
            for (kind, name), item in by_name({"config": config}).items()
            if kind == "StatefulSet"
        }

    before, after = hashes({}), hashes({"tailCacheBytes": 1048576})
    assert [name for name in before if before[name] != after[name]] == ["kafka-partition-owner"]


def test_owners_are_rolled_by_the_operator_and_others_by_kubernetes() -> None:
    made = by_name()
    strategies = {
        name: item["spec"]["updateStrategy"]["type"]
        for (kind, name), item in made.items()
        if kind == "StatefulSet"
    }
    assert strategies == {
        "kafka-gateway": "RollingUpdate",
        "kafka-partition-owner": "OnDelete",
        "kafka-metadata": "RollingUpdate",
    }


@pytest.mark.parametrize(
    ("listeners", "host", "services"),
    [
        ({}, "kafka-broker.default.svc", ["kafka-broker", "kafka-gateway"]),
        (
            {"advertisedMode": "instance"},
            "$(POD_NAME).kafka-gateway.default.svc",
            ["kafka-broker", "kafka-gateway"],
        ),
        (
            {"advertisedMode": "instance", "external": {"host": "b{index}.example.com"}},
            "b$(POD_INDEX).example.com",
            ["kafka-broker", "kafka-gateway", "kafka-gateway-0", "kafka-gateway-1"],
        ),
    ],
)
def test_how_gateways_are_advertised(listeners: dict[str, Any], host: str, services: list[str]) -> None:
    made = by_name({"listeners": listeners})
    env = made[("StatefulSet", "kafka-gateway")]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "KAFSCALE_ADVERTISED_HOST", "value": host} in env
    own = sorted(name for kind, name in made if kind == "Service" and ("gateway" in name or "broker" in name))
    assert own == services


def test_an_annotation_names_each_gateways_service_apart() -> None:
    """As external-dns and clouds take names from them: one name for all would be several addresses."""
    annotations = {"example.com/hostname": "kafka-{index}.example.com", "example.com/internal": "true"}
    external = {"host": "kafka-{index}.example.com", "annotations": annotations}
    made = by_name({"listeners": {"advertisedMode": "instance", "external": external}})
    for name, index in (("kafka-broker", "broker"), ("kafka-gateway-0", "0"), ("kafka-gateway-1", "1")):
        wanted = {"example.com/hostname": f"kafka-{index}.example.com", "example.com/internal": "true"}
        assert wanted.items() <= made["Service", name]["metadata"]["annotations"].items()


def test_gateways_have_the_certificate_of_the_listeners_and_nobody_else() -> None:
    made = by_name({"listeners": {"tlsSecret": "kafka-tls"}})
    volume = {"name": "kafka-tls", "secret": {"secretName": "kafka-tls"}}
    for component in ("gateway", "partition-owner", "metadata"):
        pod = made[("StatefulSet", f"kafka-{component}")]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        named = {each["name"] for each in container["env"]} & {
            "KAFSCALE_KAFKA_TLS_CERT_FILE",
            "KAFSCALE_KAFKA_TLS_KEY_FILE",
        }
        paths = [each["mountPath"] for each in container["volumeMounts"]]
        if component == "gateway":
            assert volume in pod["volumes"]
            assert len(named) == 2
            config = made[("ConfigMap", "kafka-config")]["data"]
            assert {str(Path(config[each]).parent) for each in named} == {"/etc/kafscale/kafka-tls"}
            assert "/etc/kafscale/kafka-tls" in paths
        else:
            assert volume not in pod["volumes"]
            assert not named
            assert paths == ["/tmp"]


def test_a_gateway_goes_on_accepting_until_others_have_heard_that_it_leaves() -> None:
    """Owners and replicas are told to peers by their leases: they leave at once."""
    hooks = {
        name: item["spec"]["template"]["spec"]["containers"][0].get("lifecycle")
        for (kind, name), item in by_name().items()
        if kind == "StatefulSet"
    }
    leaves = {"preStop": {"exec": {"command": ["sleep", "3"]}}}
    assert hooks == {"kafka-gateway": leaves, "kafka-partition-owner": None, "kafka-metadata": None}


def test_a_setting_at_its_default_is_not_told_to_images_that_may_be_older() -> None:
    config = by_name()["ConfigMap", "kafka-config"]["data"]
    assert not [name for name in config if "RETENTION" in name]
    changed = by_name({"config": {"defaultRetention": {"ms": -1}}})["ConfigMap", "kafka-config"]["data"]
    assert {name: text for name, text in changed.items() if "RETENTION" in name} == {
        "KAFSCALE_DEFAULT_RETENTION_MS": "-1"
    }


def test_a_field_of_a_newer_crd_is_no_error() -> None:
    assert by_name({"config": {"notYetKnown": 1}, "notYetKnown": {}}) == by_name()


@pytest.mark.parametrize(
    ("default", "etcd"),
    [
        ("kafscale:0.1.0", "kafscale-etcd:0.1.0"),
        ("host:5000/some/kafscale:2", "host:5000/some/kafscale-etcd:2"),
        ("host:5000/kafscale", "host:5000/kafscale-etcd:0.1.0"),
        ("host/kafscale:3@sha256:0f", "host/kafscale-etcd:0.1.0"),
    ],
)
def test_a_managed_etcds_image_is_beside_the_operators(default: str, etcd: str) -> None:
    made = context({"etcd": {"managed": {}}, "imagePullSecrets": ["registry"]})
    items = {item["metadata"]["name"]: item for item in render(replace(made, default_image=default))}
    member = items["kafka-etcd"]["spec"]["template"]["spec"]
    job = items["kafka-etcd-defragment"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for pod in (member, job):
        assert pod["containers"][0]["image"] == etcd
        assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_zones_are_a_condition_of_every_node_term() -> None:
    terms = [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}, {"matchFields": []}]
    asked = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    made = by_name({"owner": {"zones": ["a"], "affinity": asked}})
    affinity = made[("StatefulSet", "kafka-partition-owner")]["spec"]["template"]["spec"]["affinity"]
    found = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    zone = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}
    assert [term["matchExpressions"][-1] for term in found] == [zone, zone]


def test_targets_of_an_hpa() -> None:
    asked = {"maxReplicas": 5, "cpuPercent": 50, "memoryPercent": 0, "bufferBytes": 100}
    made = by_name({"owner": {"autoscaling": asked}})
    metrics = made[("HorizontalPodAutoscaler", "kafka-partition-owner")]["spec"]["metrics"]
    assert [each.get("resource", each.get("pods")) for each in metrics] == [
        {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
        {
            "metric": {"name": "kafscale_buffer_bytes"},
            "target": {"type": "AverageValue", "averageValue": "100"},
        },
    ]


# Fields whose default is true: there false is kept.
_KEPT_FALSE = {
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "controller",
    "blockOwnerDeletion",
    "enableServiceLinks",
}


@given(spec=SPECS)
@settings(max_examples=40, deadline=None)
def test_no_field_is_false_where_kubernetes_leaves_that_out(spec: dict[str, Any]) -> None:
    """It would differ from what was applied each time it is looked at (seen on a real API server)."""

    def dropped(item: Any) -> set[str]:
        if isinstance(item, dict):
            own = {key for key, value in item.items() if value is False and key not in _KEPT_FALSE}
            return own.union(*map(dropped, item.values()))
        return set().union(*map(dropped, item)) if isinstance(item, list) else set()

    for item in by_name(spec).values():
        assert not dropped(item), item["metadata"]["name"]


def test_every_container_requests_what_an_hpa_needs_to_compute() -> None:
    spec: dict[str, Any] = {"etcd": {"managed": {}}}
    pods = [
        item["spec"]["template"]["spec"] for item in render(context(spec)) if item["kind"] == "StatefulSet"
    ]
    (job,) = [item for item in render(context(spec)) if item["kind"] == "CronJob"]
    pods.append(job["spec"]["jobTemplate"]["spec"]["template"]["spec"])
    for pod in pods:
        for container in pod["containers"]:
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
