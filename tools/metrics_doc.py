"""Writes docs/metrics.md: every metric of every service, as the code makes it. `python -m tools.metrics_doc`.

Owns: how the table looks. Does not own: metrics (each service's metrics.py and recorder.py, libs/chassis).
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from libs.chassis.object_store import ObjectStoreMetrics
from libs.telemetry.metrics import SECONDS_BUCKETS, Counter, Histogram, Labels, Metrics
from services.gateway.metrics import show_consumer_lag
from services.gateway.metrics import show_statistics as show_gateway
from services.gateway.recorder import MetricsRecorder as GatewayRecorder
from services.metadata.metrics import show_statistics as show_metadata
from services.operator.metrics import show_statistics as show_operator
from services.partition_owner.metrics import show_statistics as show_owner
from services.partition_owner.recorder import MetricsRecorder as OwnerRecorder

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
_HEAD = """\
# Metrics

Written by `python -m tools.metrics_doc` from the code; don't edit it by hand.

`GET /metrics` on the control port (9093), in Prometheus' text format. `services.standalone` has those of all
three services, any other process its own. A histogram has `_bucket`, `_sum` and `_count`;
durations are in seconds. Each bound has a gauge that ends in `_max` beside the one that shows how full it is.
`process_*` and `python_info` are there too.
"""


class _Listed(Metrics):
    """Notes what is made instead of only making it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[str] = []

    def counter(self, name: str, description: str) -> Counter:
        self._note(f"{name}_total", "counter", description)
        return super().counter(name, description)

    def histogram(
        self, name: str, description: str, *, buckets: Sequence[float] = SECONDS_BUCKETS
    ) -> Histogram:
        self._note(name, "histogram", description)
        return super().histogram(name, description, buckets=buckets)

    def labelled_gauge(
        self, name: str, description: str, read: Callable[[], Iterable[tuple[Labels, float]]]
    ) -> None:
        self._note(name, "gauge", description)
        super().labelled_gauge(name, description, read)

    def observed_counter(
        self, name: str, description: str, read: Callable[[], Iterable[tuple[Labels, float]]]
    ) -> None:
        self._note(f"{name}_total", "counter", description)
        super().observed_counter(name, description, read)

    def _note(self, name: str, kind: str, description: str) -> None:
        self.rows.append(f"| `{name}` | {kind} | {description} |\n")


def document() -> str:
    """The whole page."""

    def gateway(metrics: Metrics) -> None:
        GatewayRecorder(metrics)
        show_gateway(metrics, _unread)
        show_consumer_lag(metrics, _unread)

    def owner(metrics: Metrics) -> None:
        OwnerRecorder(metrics)
        show_owner(metrics, _unread)

    def store(metrics: Metrics) -> None:
        ObjectStoreMetrics(metrics)

    def metadata(metrics: Metrics) -> None:
        show_metadata(metrics, _unread)

    def operator(metrics: Metrics) -> None:
        show_operator(metrics, _unread)

    return _HEAD + "".join(
        (
            _section("Gateway", gateway),
            _section("Partition owner", owner),
            _section("Object store, in a partition owner", store),
            _section("Metadata", metadata),
            _section("Operator", operator),
        )
    )


def _section(title: str, make: Callable[[Metrics], None]) -> str:
    metrics = _Listed()
    make(metrics)
    metrics.close()
    return f"\n## {title}\n\n| metric | kind | what |\n|---|---|---|\n" + "".join(metrics.rows)


def _unread() -> NoReturn:
    raise AssertionError("nobody looks at these metrics")


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    sys.stdout.write(f"{DOCUMENT}\n")
