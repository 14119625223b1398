"""What is told after an install says what to do next, for what was installed."""

import shutil
from pathlib import Path

import pytest

from tests.support.charts import CHART, VALUES, Helm

_AS_AN_OBJECT = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: notes
data:
  notes: |
    {{- tpl (.Files.Get "notes.txt") . | nindent 4 }}
"""


def notes(helm: Helm, folder: Path, values: str, *more: str) -> str:
    """Helm shows notes where there is a cluster only: here they are an object of a copy of the chart."""
    chart = Path(shutil.copytree(CHART, folder / "kafscale"))
    (chart / "templates" / "NOTES.txt").rename(chart / "notes.txt")
    (chart / "templates" / "notes.yaml").write_text(_AS_AN_OBJECT)
    rendered = helm.render("--values", str(VALUES / f"{values}.yaml"), *more, chart=chart)
    return str(rendered.one("ConfigMap", "notes")["data"]["notes"])


@pytest.mark.parametrize(
    ("values", "told", "not_told"),
    [
        (
            "default",
            ["events-broker.kafka.svc:9092", "helm test events --namespace kafka", "cluster-minimal.yaml"],
            ["outside", "has no gateway", "were given as values", "security.protocol"],
        ),
        ("gateway-alone", ["events-broker.kafka.svc:9092"], ["cluster-minimal.yaml"]),
        ("metadata-alone", ["has no gateway", "events-metadata.kafka:9094"], ["helm test"]),
        ("operator-only", ["charts/samples/topic.yaml"], ["helm test", "has no gateway"]),
        (
            "everything",
            ["orders-broker.kafka.svc:9092", "Keys were given as values", "security.protocol=SSL"],
            ["not-a-secret"],
        ),
    ],
)
def test_next_steps(values: str, told: list[str], not_told: list[str], helm: Helm, tmp_path: Path) -> None:
    said = notes(helm, tmp_path, values)
    assert "kubectl apply --server-side --force-conflicts --filename charts/kafscale/crds" in said
    assert not [words for words in told if words not in said], said
    assert not [words for words in not_told if words in said], said


def test_clients_outside_are_warned(helm: Helm, tmp_path: Path) -> None:
    said = notes(helm, tmp_path, "default", "--set", "gateway.listeners.external.type=LoadBalancer")
    assert "set gateway.listeners.advertisedHost" in said
