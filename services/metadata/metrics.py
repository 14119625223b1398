"""What a replica holds, as metrics.

Owns: names. Does not own: the numbers (service.py).
"""

from collections.abc import Callable

from libs.telemetry.metrics import Metrics
from services.metadata.service import MetadataStatistics


def show_statistics(metrics: Metrics, read: Callable[[], MetadataStatistics]) -> None:
    """Read when somebody looks."""
    metrics.gauge("kafscale_metadata_revision", "newest revision seen", lambda: read().revision)
    metrics.gauge(
        "kafscale_metadata_store_connected", "1 while the store answers", lambda: read().store_connected
    )
    metrics.gauge(
        "kafscale_controller", "1 on the replica that assigns partitions", lambda: read().controller
    )
    for name in ("topics", "partitions", "owners", "gateways", "replicas"):
        metrics.gauge(f"kafscale_cluster_{name}", f"{name} of the cluster", _reader(read, name))
    metrics.gauge("kafscale_watchers", "open Watch streams", lambda: read().watch.watchers)


def _reader(read: Callable[[], MetadataStatistics], name: str) -> Callable[[], float]:
    return lambda: float(getattr(read(), name))
