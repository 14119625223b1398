"""Random resources against the real API server: the wrong half is refused, each by the name of its field.

What the API server takes, the operator's own types take as well.
"""

import random

import pytest
from pydantic import ValidationError

from services.operator.spec import cluster_of, problems
from services.operator.topic_spec import topic_of
from tests.e2e import specs
from tests.e2e.api import ApiError, Object
from tests.e2e.world import World

EACH = 150
_KINDS = {"kafscaleclusters": "KafscaleCluster", "kafscaletopics": "KafscaleTopic"}


def refusal_by_api(world: World, plural: str, spec: Object) -> str:
    """Empty where it is accepted."""
    path = f"/apis/kafscale.io/v1alpha1/namespaces/default/{plural}"
    item = {
        "apiVersion": "kafscale.io/v1alpha1",
        "kind": _KINDS[plural],
        "metadata": {"name": "drawn"},
        "spec": spec,
    }
    try:
        world.call("POST", path, item, dryRun="All", fieldValidation="Strict")
    except ApiError as error:
        return error.message if error.status in (400, 422) else f"{error}, which is no refusal"
    return ""


def refusal_by_types(plural: str, spec: Object) -> str:
    metadata = {"namespace": "default", "name": "drawn", "uid": "1", "generation": 1}
    read = cluster_of if plural == "kafscaleclusters" else topic_of
    try:
        read({"metadata": metadata, "spec": spec})
    except ValidationError as error:
        return problems(error)
    return ""


@pytest.mark.parametrize("plural", _KINDS)
def test_what_is_right_is_accepted(world: World, operator: str, plural: str) -> None:
    draw_spec = specs.cluster if plural == "kafscaleclusters" else specs.topic
    for seed in range(EACH):
        spec = draw_spec(random.Random(seed))
        refused = refusal_by_api(world, plural, spec), refusal_by_types(plural, spec)
        assert refused == ("", ""), f"seed {seed}: {spec}"


@pytest.mark.parametrize("plural", _KINDS)
def test_what_is_wrong_is_refused_by_the_name_of_its_field(world: World, operator: str, plural: str) -> None:
    schema = specs.schema_of(plural)
    draw_spec = specs.cluster if plural == "kafscaleclusters" else specs.topic
    for seed in range(EACH):
        draw = random.Random(seed)
        wrong = specs.broken(draw_spec(draw), schema, draw)
        assert wrong.field in refusal_by_api(world, plural, wrong.spec), f"seed {seed}: {wrong}"
