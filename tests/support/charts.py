"""What Helm makes of the charts: rendered objects, and the environment that a pod's process would see.

Owns: running Helm, finding objects. Does not own: judging them (tests/charts).
"""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "kafscale"
SAMPLES = ROOT / "charts" / "samples"
VALUES = ROOT / "tests" / "charts" / "values"
NAMESPACE = "kafka"
RELEASE = "events"

Object = dict[str, Any]


class Rendered(list[Object]):
    """The objects of one release."""

    def one(self, kind: str, name: str) -> Object:
        """The only object of this kind and name."""
        (found,) = (each for each in self if each["kind"] == kind and each["metadata"]["name"] == name)
        return found

    def of(self, kind: str) -> list[Object]:
        return [each for each in self if each["kind"] == kind]

    def names(self) -> set[tuple[str, str]]:
        return {(each["kind"], each["metadata"]["name"]) for each in self}

    def workloads(self) -> list[Object]:
        """What makes pods that stay."""
        return [*self.of("StatefulSet"), *self.of("Deployment")]

    def environment(self, workload: Object) -> dict[str, str]:
        """What the process of a pod sees, as the node agent would put it together."""
        seen: dict[str, str] = {}
        for variable in workload["spec"]["template"]["spec"]["containers"][0]["env"]:
            value = self._value(variable, workload["metadata"]["name"])
            for name, known in seen.items():
                value = value.replace(f"$({name})", known)
            seen[variable["name"]] = value
        return seen

    def _value(self, variable: Mapping[str, Any], pods: str) -> str:
        if "value" in variable:
            assert isinstance(variable["value"], str), f"{variable['name']} is no text"
            return variable["value"]
        ((kind, source),) = variable["valueFrom"].items()
        if kind == "fieldRef":
            fields = {
                "metadata.name": f"{pods}-0",
                "metadata.namespace": NAMESPACE,
                "status.podIP": "10.1.2.3",
                "metadata.labels['topology.kubernetes.io/zone']": "",
            }
            return fields[source["fieldPath"]]
        if kind == "configMapKeyRef":
            return str(self.one("ConfigMap", source["name"])["data"][source["key"]])
        assert kind == "secretKeyRef"
        if ("Secret", source["name"]) in self.names():
            return str(self.one("Secret", source["name"])["stringData"][source["key"]])
        return "from-a-secret"


class Helm:
    """A Helm that talks to no cluster."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._rendered: dict[tuple[str, ...], Rendered] = {}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run((str(self._program), *arguments), capture_output=True, text=True, check=False)

    def render(self, *arguments: str, chart: Path = CHART) -> Rendered:
        """The objects of a release of the chart."""
        key = (str(chart), *arguments)
        if key not in self._rendered:
            done = self._template(chart, arguments)
            assert done.returncode == 0, done.stderr
            self._rendered[key] = Rendered(filter(None, yaml.safe_load_all(done.stdout)))
        return self._rendered[key]

    def render_file(self, name: str) -> Rendered:
        """The objects with a file of tests/charts/values."""
        return self.render("--values", str(VALUES / f"{name}.yaml"))

    def refusal(self, *arguments: str) -> str:
        """What is said where values are refused."""
        done = self._template(CHART, arguments)
        assert done.returncode != 0, "nothing was refused"
        return done.stderr

    def _template(self, chart: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return self.run("template", RELEASE, str(chart), "--namespace", NAMESPACE, *arguments)


def values_files() -> Iterator[Path]:
    """Every file of values that has to render."""
    yield from sorted(VALUES.glob("*.yaml"))
    yield from sorted(SAMPLES.glob("values-*.yaml"))
