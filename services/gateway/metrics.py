"""What a gateway holds, as metrics.

Owns: names. Does not own: what is recorded as it happens (recorder.py).
"""

from collections.abc import Callable, Iterable

from libs.telemetry.metrics import Labels, Metrics
from services.gateway.service import GatewayStatistics


def show_statistics(metrics: Metrics, read: Callable[[], GatewayStatistics]) -> None:
    """Each bound of the gateway beside how full it is, read when somebody looks."""
    metrics.gauge("kafscale_active_connections", "Kafka connections", lambda: read().connections)
    metrics.gauge("kafscale_connections_max", "bound of connections", lambda: read().connections_max)
    metrics.gauge("kafscale_in_flight_bytes", "unanswered request bytes", lambda: read().in_flight_bytes)
    metrics.gauge("kafscale_in_flight_bytes_max", "bound of those bytes", lambda: read().in_flight_bytes_max)
    metrics.gauge("kafscale_fetched_bytes", "record bytes on their way out", lambda: read().fetched_bytes)
    metrics.gauge("kafscale_fetched_bytes_max", "bound of those bytes", lambda: read().fetched_bytes_max)
    metrics.gauge("kafscale_requests_waiting", "requests that wait for room", lambda: read().requests_waiting)
    metrics.gauge("kafscale_appends_waiting", "appends held by the gateway", lambda: read().appends_waiting)
    metrics.gauge("kafscale_appends_in_flight", "appends at owners", lambda: read().appends_in_flight)
    metrics.gauge("kafscale_owner_links", "connections to owners", lambda: read().owner_links)


def show_consumer_lag(metrics: Metrics, read: Callable[[], Iterable[tuple[Labels, float]]]) -> None:
    """One row for each partition of a group that commits through this gateway (bounded: lag.py)."""
    metrics.labelled_gauge("kafscale_consumer_lag", "records between commit and high watermark", read)
