"""What the operator does, as metrics.

Owns: names. Does not own: the numbers (service.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

from libs.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorStatistics:
    leading: bool
    waiting: int
    """Resources that wait to be looked at."""
    failing: int
    """Resources whose last look failed."""
    looks: int
    drains_done: int
    drains_failed: int
    restarts: int
    relists: int
    refused: int
    """Kinds that may not be watched, or are not installed."""


def show_statistics(metrics: Metrics, read: Callable[[], OperatorStatistics]) -> None:
    """Read when somebody looks."""
    metrics.gauge("kafscale_operator_leading", "1 on the replica that works", lambda: read().leading)
    metrics.gauge("kafscale_operator_waiting", "resources to be looked at", lambda: read().waiting)
    metrics.gauge("kafscale_operator_failing", "resources whose last look failed", lambda: read().failing)
    metrics.gauge("kafscale_operator_refused", "kinds that may not be watched", lambda: read().refused)
    metrics.observed_counter("kafscale_operator_looks", "looks at a resource", lambda: [({}, read().looks)])
    metrics.observed_counter(
        "kafscale_operator_drains",
        "owners drained before a restart or a scale-down, by outcome",
        lambda: [
            ({"outcome": "done"}, read().drains_done),
            ({"outcome": "failed"}, read().drains_failed),
        ],
    )
    metrics.observed_counter(
        "kafscale_operator_restarts", "owners' pods restarted", lambda: [({}, read().restarts)]
    )
    metrics.observed_counter(
        "kafscale_operator_lists", "times that a kind was listed anew", lambda: [({}, read().relists)]
    )
