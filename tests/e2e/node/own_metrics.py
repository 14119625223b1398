"""Our own metrics, served as custom.metrics.k8s.io: what a metrics adapter does with Prometheus behind it.

Owns: scraping, rates, the API's answers. Does not own: the server (usage.py), which metric an HPA asks for
(charts, operator); the names are those of charts/samples/prometheus-adapter-values.yaml.
Source: k8s.io/metrics custom_metrics/v1beta2, MetricValueList.
"""

import datetime
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.api import Name, Object
from tests.e2e.node.usage import selects

ROOT = "/apis/custom.metrics.k8s.io/v1beta2"
_SCRAPE_SECONDS_MAX = 5.0


class _Rate(NamedTuple):
    counter: str
    labels: Mapping[str, str]


_RATES = {
    "kafscale_produced_bytes_per_second": _Rate("kafscale_received_bytes_total", {"api": "produce"}),
    "kafscale_chain_bytes_per_second": _Rate("kafscale_chain_bytes_total", {}),
}


@dataclass(slots=True)
class OwnMetrics:
    """Values of pods as of the last look."""

    values: dict[Name, tuple[Object, dict[str, float]]] = field(default_factory=dict)
    """By pod: its labels, and each metric's sum over its labels."""
    _counters: dict[tuple[Name, str], tuple[float, float]] = field(default_factory=dict)

    def look(self, pods: Iterable[tuple[Name, Object, str]]) -> None:
        """(pod, its labels, its address) each; one that does not answer has no values."""
        found: dict[Name, tuple[Object, dict[str, float]]] = {}
        with httpx.Client(trust_env=False, timeout=_SCRAPE_SECONDS_MAX) as client:
            for name, labels, ip in pods:
                try:
                    text = client.get(f"http://{ip}:9093/metrics").text
                except httpx.TransportError:
                    continue
                found[name] = (labels, self._values(name, text))
        self.values = found

    def _values(self, name: Name, text: str) -> dict[str, float]:
        sums: dict[str, float] = {}
        counted: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
                for rate, source in _RATES.items():
                    if sample.name == source.counter and source.labels.items() <= sample.labels.items():
                        counted[rate] = counted.get(rate, 0.0) + sample.value
        now = time.monotonic()
        for rate, value in counted.items():
            before = self._counters.get((name, rate))
            self._counters[name, rate] = (now, value)
            if before is not None and value >= before[1]:
                sums[rate] = (value - before[1]) / max(now - before[0], 1e-3)
        return sums

    def answer(self, target: str) -> tuple[int, Object]:
        """The API's answer to a GET."""
        split = urlsplit(target)
        if split.path == ROOT:
            return 200, {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": "custom.metrics.k8s.io/v1beta2",
                "resources": [],
            }
        parts = unquote(split.path).removeprefix(ROOT).strip("/").split("/")
        if len(parts) != 5 or (parts[0], *parts[2:4]) != ("namespaces", "pods", "*"):
            return 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}
        selector = parse_qs(split.query).get("labelSelector", [""])[0]
        items = [
            _value(name, parts[4], values[parts[4]])
            for name, (labels, values) in self.values.items()
            if name.namespace == parts[1] and parts[4] in values and selects(selector, labels)
        ]
        return 200, {
            "kind": "MetricValueList",
            "apiVersion": "custom.metrics.k8s.io/v1beta2",
            "metadata": {},
            "items": items,
        }


def _value(name: Name, metric: str, value: float) -> Object:
    described = {"kind": "Pod", "namespace": name.namespace, "name": name.name, "apiVersion": "/v1"}
    return {
        "describedObject": described,
        "metric": {"name": metric, "selector": None},
        "timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "value": f"{value * 1000:.0f}m",
    }
