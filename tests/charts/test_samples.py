"""The samples of charts/samples are of the kinds and fields that the CRDs have."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.charts import CHART, SAMPLES, Helm


def resources() -> list[dict[str, Any]]:
    paths = [*sorted(SAMPLES.glob("cluster*.yaml")), SAMPLES / "topic.yaml"]
    return [yaml.safe_load(path.read_text()) for path in paths]


def unknown(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    """Fields that the schema does not have, and those that it requires and that are not there."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict):
        properties = schema.get("properties")
        yield from (f"{path}.{key} is missing" for key in schema.get("required", ()) if key not in value)
        if properties is None:
            return  # a map, or anything
        for key, item in value.items():
            if key in properties:
                yield from unknown(item, properties[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is unknown"


@pytest.mark.parametrize("crd", sorted((CHART / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_samples_are_what_the_crds_say(crd: Path) -> None:
    spec = yaml.safe_load(crd.read_text())["spec"]
    samples = [each for each in resources() if each["kind"] == spec["names"]["kind"]]
    assert samples
    for each in samples:
        group, _, wanted = each["apiVersion"].partition("/")
        assert group == spec["group"]
        (version,) = (version for version in spec["versions"] if version["name"] == wanted)
        asked = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        assert not list(unknown(each["spec"], asked, each["metadata"]["name"]))


def test_the_topic_is_in_a_cluster_of_the_samples() -> None:
    (topic,) = (each for each in resources() if each["kind"] == "KafscaleTopic")
    clusters = {each["metadata"]["name"] for each in resources() if each["kind"] == "KafscaleCluster"}
    assert topic["spec"]["clusterRef"] in clusters


def test_the_operator_may_do_what_its_samples_need(helm: Helm) -> None:
    """By name of the resource: more than it makes would be too much."""
    (role,) = (each for each in helm.render_file("operator-only").of("ClusterRole"))
    allowed = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert {"kafscaleclusters", "kafscaletopics", "statefulsets", "services", "pods"} <= allowed
    assert not {"secrets", "nodes", "roles", "clusterroles", "*"} & allowed
    assert all("*" not in rule["verbs"] for rule in role["rules"])
