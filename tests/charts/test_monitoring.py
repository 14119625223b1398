"""Alert rules, dashboard and adapter rules name metrics that there are, and speak of their own release."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.charts import CHART, NAMESPACE, RELEASE, ROOT, SAMPLES, Helm

_METRIC = re.compile(r"\bkafscale_[a-z0-9_]+\b")
_KNOWN = re.compile(r"^\| `(kafscale_\w+)` \| (\w+) \|", re.MULTILINE)


def known_metrics() -> set[str]:
    """By the names that Prometheus sees."""
    found: set[str] = set()
    for name, kind in _KNOWN.findall((ROOT / "docs" / "metrics.md").read_text()):
        found |= {f"{name}{end}" for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((CHART / "rules" / "kafscale.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_queries() -> Iterator[str]:
    board = json.loads((CHART / "dashboards" / "kafscale.json").read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (variable["query"] for variable in board["templating"]["list"])


def test_queries_name_metrics_that_there_are() -> None:
    queries = [*dashboard_queries(), *(rule["expr"] for rule in rules())]
    for rule in yaml.safe_load((SAMPLES / "prometheus-adapter-values.yaml").read_text())["rules"]["custom"]:
        queries.append(rule["seriesQuery"].replace("kafscale_(", "(").replace("(", "").replace(")", ""))
    named = {name for query in queries for name in _METRIC.findall(query)}
    assert len(named) > 30
    assert named <= known_metrics()


def test_adapter_serves_what_autoscalers_ask_for(helm: Helm) -> None:
    """A rule without a name of its own serves its series under the series' names."""
    served: set[str] = set()
    for rule in yaml.safe_load((SAMPLES / "prometheus-adapter-values.yaml").read_text())["rules"]["custom"]:
        if "name" in rule:
            served.add(rule["name"]["as"])
        elif found := re.search(r"kafscale_\(([^)]*)\)", rule["seriesQuery"]):
            served |= {f"kafscale_{name}" for name in found[1].split("|")}
    asked = {
        metric["pods"]["metric"]["name"]
        for each in helm.render_file("everything").of("HorizontalPodAutoscaler")
        for metric in each["spec"]["metrics"]
        if metric["type"] == "Pods"
    }
    assert asked == served
    assert {name for name in served if not name.endswith("_per_second")} <= known_metrics()


def test_texts_name_metrics_that_there_are() -> None:
    known = known_metrics() | {name for name, _ in _KNOWN.findall((ROOT / "docs" / "metrics.md").read_text())}
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(_METRIC.findall(" ".join(rule["annotations"].values()))) <= known


def test_each_rule_selects_a_service() -> None:
    for rule in rules():
        assert rule["expr"].count('{job=~".+-') == rule["expr"].count("{"), rule["alert"]


def test_rules_of_a_release_are_about_it(helm: Helm) -> None:
    spec = helm.render_file("everything").one("PrometheusRule", "orders")["spec"]
    rendered = [rule for group in spec["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in rendered] == [rule["alert"] for rule in rules()]
    for rule in rendered:
        assert f'namespace="{NAMESPACE}",job=~"orders-' in rule["expr"]
        assert "{{ $labels." in rule["annotations"]["summary"]


def test_a_release_of_the_operator_alone_looks_at_every_cluster_that_it_makes(helm: Helm) -> None:
    values = SAMPLES / "values-operator.yaml"
    sets = ("monitoring.prometheusRule.enabled=true", "monitoring.serviceMonitor.enabled=true")
    arguments = [argument for each in sets for argument in ("--set", each)]
    rendered = helm.render("--values", str(values), *arguments)
    spec = rendered.one("PrometheusRule", RELEASE)["spec"]
    assert spec == yaml.safe_load((CHART / "rules" / "kafscale.yaml").read_text())
    monitor = rendered.one("ServiceMonitor", f"{RELEASE}-metrics")["spec"]
    assert monitor["namespaceSelector"] == {"any": True}
    assert monitor["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "kafscale",
        "app.kubernetes.io/managed-by": "kafscale-operator",
    }


def test_a_release_of_the_operator_alone_looks_where_the_operator_does(helm: Helm) -> None:
    values = SAMPLES / "values-operator.yaml"
    sets = ("monitoring.serviceMonitor.enabled=true", "operator.watchNamespaces={one,two}")
    arguments = [argument for each in sets for argument in ("--set", each)]
    rendered = helm.render("--values", str(values), *arguments)
    monitor = rendered.one("ServiceMonitor", f"{RELEASE}-metrics")["spec"]
    assert monitor["namespaceSelector"] == {"matchNames": ["one", "two"]}


def test_the_dashboard_is_found_and_whole(helm: Helm) -> None:
    found = helm.render_file("default").one("ConfigMap", "events-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["kafscale.json"]) == json.loads(
        (CHART / "dashboards" / "kafscale.json").read_text()
    )
