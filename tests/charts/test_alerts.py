"""Prometheus' own promtool: each alert fires when what it speaks of lasts, says so in words, and not before.

Owns: what the rules do with series. Does not own: whether there are such metrics (test_monitoring.py).
"""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.test_monitoring import dashboard_queries, rules
from tests.support.charts import CHART
from tools.toolchain import tool_path

RULES = CHART / "rules" / "kafscale.yaml"
LATE_MINUTES = 45
"""By then every alert has waited for long enough."""

_METADATA, _OWNER, _GATEWAY = (
    {"namespace": "kafka", "job": f"orders-{service}", "pod": f"orders-{service}-1"}
    for service in ("metadata", "partition-owner", "gateway")
)
_METADATA_JOB = {"namespace": "kafka", "job": "orders-metadata"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Series that make an alert fire, in promtool's notation by the minute, and series that don't."""

    fires: Mapping[str, str]
    quiet: Mapping[str, str]
    pod: Mapping[str, str]
    """Labels of every series."""
    tells: str
    """The summary."""
    labels: Mapping[str, str]
    """Of the alert, without its severity."""


def _still(value: float) -> str:
    """A gauge that stays."""
    return f"{value}x{LATE_MINUTES}"


def _gauge(pod: Mapping[str, str], name: str, *, bad: float, good: float, tells: str) -> Case:
    return Case(fires={name: _still(bad)}, quiet={name: _still(good)}, pod=pod, tells=tells, labels=pod)


def _full(pod: Mapping[str, str], name: str, tells: str) -> Case:
    """A gauge beside its bound."""
    bound = {f"{name}_max": _still(1000)}
    return Case(
        fires={name: _still(950), **bound},
        quiet={name: _still(850), **bound},
        pod=pod,
        tells=tells,
        labels=pod,
    )


def _of_all(name: str, tells: str) -> Case:
    """What every replica of the metadata service tells."""
    return Case(
        fires={name: _still(0)}, quiet={name: _still(1)}, pod=_METADATA, tells=tells, labels=_METADATA_JOB
    )


def _flushes(*, slow: int) -> dict[str, str]:
    """A hundred a minute, so many of them take between 2.5 and 5 s."""
    name = "kafscale_flush_seconds_bucket"
    counts = {"1.0": 100 - slow, "2.5": 100 - slow, "5.0": 100, "+Inf": 100}
    return {f'{name}{{le="{bound}"}}': f"0+{count}x{LATE_MINUTES}" for bound, count in counts.items()}


CASES = {
    "KafscaleDown": _gauge(_OWNER, "up", bad=0, good=1, tells="orders-partition-owner-1 does not answer"),
    "KafscaleNoOwners": _of_all("kafscale_cluster_owners", "No partition owner is alive in kafka"),
    "KafscaleNoGateways": _of_all("kafscale_cluster_gateways", "No gateway is alive in kafka"),
    "KafscaleNoController": _of_all("kafscale_controller", "No metadata replica assigns partitions in kafka"),
    "KafscaleMetadataStoreAway": _gauge(
        _METADATA,
        "kafscale_metadata_store_connected",
        bad=0,
        good=1,
        tells="orders-metadata-1 can't reach etcd",
    ),
    "KafscaleObjectStoreSlow": Case(
        fires=_flushes(slow=20),
        quiet=_flushes(slow=0),
        pod=_OWNER,
        tells="Records take 4.875s to become durable in kafka",
        labels={"namespace": "kafka", "job": "orders-partition-owner"},
    ),
    "KafscaleBufferFull": _full(
        _OWNER, "kafscale_buffer_bytes", "orders-partition-owner-1 has no room for more records"
    ),
    "KafscaleAppendsWaiting": _gauge(
        _GATEWAY,
        "kafscale_appends_waiting",
        bad=1,
        good=0,
        tells="orders-gateway-1 holds appends for partitions that nobody serves",
    ),
    "KafscaleInFlightFull": _full(
        _GATEWAY,
        "kafscale_in_flight_bytes",
        "orders-gateway-1 reads no more requests until it answered some",
    ),
    "KafscaleConnectionsNearlyFull": Case(
        fires={"kafscale_active_connections": _still(950), "kafscale_connections_max": _still(1000)},
        quiet={"kafscale_active_connections": _still(850), "kafscale_connections_max": _still(1000)},
        pod=_GATEWAY,
        tells="orders-gateway-1 has nearly as many connections as it takes",
        labels=_GATEWAY,
    ),
    "KafscaleConnectionsRefused": Case(
        fires={'kafscale_connections_refused_total{reason="full"}': f"0+1x{LATE_MINUTES}"},
        quiet={'kafscale_connections_refused_total{reason="full"}': _still(7)},
        pod=_GATEWAY,
        tells="orders-gateway-1 refuses connections: full",
        labels={**_GATEWAY, "reason": "full"},
    ),
    "KafscaleCompactionBehind": _gauge(
        _OWNER,
        "kafscale_compaction_behind_seconds",
        bad=7200,
        good=1800,
        tells="orders-partition-owner-1 has not compacted for 2h 0m 0s",
    ),
    "KafscaleMetadataSnapshotFails": Case(
        fires={'kafscale_metadata_snapshots_total{outcome="failed"}': f"0+1x{LATE_MINUTES}"},
        quiet={'kafscale_metadata_snapshots_total{outcome="failed"}': f"0x20 1 3x{LATE_MINUTES}"},
        pod=_OWNER,
        tells="orders-partition-owner-1 can't write snapshots of the metadata store",
        labels={**_OWNER, "outcome": "failed"},
    ),
}


def _series(name: str, pod: Mapping[str, str]) -> str:
    """With the labels that Prometheus gives it beside its own."""
    bare, _, own = name.partition("{")
    given = ",".join(f'{label}="{value}"' for label, value in pod.items())
    return f"{bare}{{{given}{',' if own else ''}{own or '}'}"


def _input(series: Mapping[str, str], pod: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"series": _series(name, pod), "values": values} for name, values in series.items()]


def _for_minutes(rule: Mapping[str, Any]) -> int:
    return int(str(rule.get("for", "0m")).removesuffix("m"))


def _tests_of(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """promtool's tests: it fires late, not before its `for` is over, and never where all is well."""
    alert, case = rule["alert"], CASES[rule["alert"]]
    description = re.sub(r"\s+", " ", rule["annotations"]["description"])
    firing = {
        "exp_labels": {**case.labels, "severity": rule["labels"]["severity"]},
        "exp_annotations": {"summary": case.tells, "description": description},
    }
    late: dict[str, Any] = {"eval_time": f"{LATE_MINUTES}m", "alertname": alert}
    at_first = (
        [{**late, "eval_time": f"{_for_minutes(rule) - 1}m", "exp_alerts": []}] if "for" in rule else []
    )
    return [
        {
            "name": f"{alert} fires",
            "interval": "1m",
            "input_series": _input(case.fires, case.pod),
            "alert_rule_test": [*at_first, {**late, "exp_alerts": [firing]}],
        },
        {
            "name": f"{alert} is quiet",
            "interval": "1m",
            "input_series": _input(case.quiet, case.pod),
            "alert_rule_test": [{**late, "exp_alerts": []}],
        },
    ]


def _promtool(*arguments: str) -> None:
    done = subprocess.run(
        (str(tool_path("promtool")), *arguments), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_fires_when_it_lasts_and_says_what_it_is(rule: Mapping[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "tests.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": _tests_of(rule)})
    )
    _promtool("test", "rules", str(file))


def test_queries_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    """Each as a rule of its own, with what Grafana would put in."""
    chosen = {"$__rate_interval": "5m", "$namespace": "kafka", "$cluster": "orders"}
    queries = [query for query in dashboard_queries() if not query.startswith("label_values(")]
    for name, value in chosen.items():
        queries = [query.replace(name, value) for query in queries]
    assert len(queries) > 20
    assert not re.search(r"\$", json.dumps(queries))
    named = [{"record": f"panel:query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": named}]}))
    _promtool("check", "rules", str(file))
