"""The CRDs and the typed specs say the same: fields, defaults, bounds, what is required."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from services.operator.kinds import CLUSTERS, TOPICS, Kind
from services.operator.render.common import OWNER
from services.operator.spec import ClusterSpec, Model
from services.operator.topic_spec import TopicSpec
from tests.unit.services.operator.making import LEAST

FOLDER = Path(__file__).resolve().parents[4] / "charts" / "kafscale" / "crds"
BOUNDS = {"ge": "minimum", "le": "maximum", "min_length": "minLength", "max_length": "maxLength"}


def crd(kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{kind.plural}.yaml").read_text())
    return found


def schema(kind: Kind) -> dict[str, Any]:
    (version,) = crd(kind)["spec"]["versions"]
    whole: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return whole


def model_in(annotation: Any) -> type[Model] | None:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next((found for each in get_args(annotation) if (found := model_in(each))), None)


def differences(model: type[Model], said: Mapping[str, Any], path: str = "spec") -> Iterator[str]:
    properties = said["properties"]
    fields = {str(info.alias): info for info in model.model_fields.values()}
    if fields.keys() != properties.keys():
        yield f"{path}: {sorted(fields.keys() ^ properties.keys())}"
    required = {name for name, info in fields.items() if info.is_required()}
    if required != set(said.get("required", ())):
        yield f"{path}: required"
    for name in fields.keys() & properties.keys():
        info, field, at = fields[name], properties[name], f"{path}.{name}"
        inner = model_in(info.annotation)
        if inner is not None:
            yield from differences(inner, field, at)
            continue
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        if default not in (None, (), {}) and field.get("default") != default:
            yield f"{at}: default {field.get('default')!r}, not {default!r}"
        for each in info.metadata:
            for ours, theirs in BOUNDS.items():
                bound = getattr(each, ours, None)
                if bound is not None and field.get(theirs) != bound:
                    yield f"{at}: {theirs} {field.get(theirs)}, not {bound}"


@pytest.mark.parametrize(("kind", "model"), [(CLUSTERS, ClusterSpec), (TOPICS, TopicSpec)])
def test_the_crd_and_the_model_are_one(kind: Kind, model: type[Model]) -> None:
    assert list(differences(model, schema(kind)["properties"]["spec"])) == []


@pytest.mark.parametrize(("kind", "short"), [(CLUSTERS, "kfs"), (TOPICS, "kt")])
def test_names_and_what_kubectl_shows(kind: Kind, short: str) -> None:
    found = crd(kind)
    assert found["metadata"]["name"] == f"{kind.plural}.{kind.group}"
    assert found["spec"]["names"]["kind"] == kind.kind
    assert found["spec"]["names"]["shortNames"] == [short]
    (version,) = found["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    assert {"Ready", "Age"} <= {column["name"] for column in version["additionalPrinterColumns"]}


def test_the_longest_name_leaves_room_for_what_is_made_of_it() -> None:
    """A pod's revision label has 63 characters at most, a CronJob's name 52; a revision has 10 digits."""
    rule = schema(CLUSTERS)["x-kubernetes-validations"][0]["rule"]
    longest = int(rule.partition("size() <= ")[2].partition(" ")[0])
    assert longest + len(f"-{OWNER}-") + 10 <= 63
    assert longest + len("-etcd-defragment") <= 52
    assert schema(TOPICS)["properties"]["spec"]["properties"]["clusterRef"]["maxLength"] == longest


def nodes(said: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(said, Mapping):
        yield said
        for each in said.values():
            yield from nodes(each)
    elif isinstance(said, list):
        for each in said:
            yield from nodes(each)


@pytest.mark.parametrize("kind", [CLUSTERS, TOPICS])
def test_it_is_structural_and_its_rules_have_messages(kind: Kind) -> None:
    """https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions"""
    for node in nodes(schema(kind)):
        if "properties" in node and isinstance(node["properties"], Mapping) and "type" in node:
            assert node["type"] == "object"
        for rule in node.get("x-kubernetes-validations", ()):
            if isinstance(rule, Mapping):
                assert rule["rule"]
                assert rule["message"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"etcd": {}}, "etcd.endpoints or etcd.managed"),
        ({"etcd": {"endpoints": ["a"], "managed": {}}}, "etcd.endpoints or etcd.managed"),
        ({"etcd": {"managed": {}, "authSecretName": "x"}}, "belong to etcd.endpoints"),
        ({"listeners": {"advertisedMode": "instance", "external": {"host": "one"}}}, "{index}"),
        ({"listeners": {"external": {"host": "b{index}"}}}, "{index}"),
        (
            {
                "listeners": {
                    "advertisedMode": "instance",
                    "external": {"host": "{index}", "type": "NodePort"},
                }
            },
            "LoadBalancer",
        ),
        ({"owner": {"autoscaling": {"minReplicas": 5, "maxReplicas": 2}}}, "minReplicas"),
        ({"owner": {"replicas": 0}}, "owner.replicas"),
        ({"config": {"defaultRetention": {"ms": 0}}}, "at least 1"),
        ({"config": {"defaultRetention": {"bytes": -2}}}, "config.defaultRetention.bytes"),
        ({"config": {"defaultRetention": {"bytes": 0}}}, "at least 1"),
        ({"s3": {"bucket": "records", "kmsKey": "two words"}}, "s3.kmsKey"),
        ({"s3": {"bucket": "records", "readBucket": "records"}}, "another bucket"),
    ],
)
def test_what_does_not_fit_together(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ClusterSpec.model_validate({**LEAST, **spec})
    assert words in str(caught.value)
