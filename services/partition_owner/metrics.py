"""What the owner counts, and how it is called.

Owns: the numbers and their names. Does not own: the exporter (libs/telemetry).
Rules: 1 the hot path adds to plain integers, they are read when somebody looks; 2 histograms get one value
an object or one a fetch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from libs.telemetry.metrics import BYTES_BUCKETS, Metrics

if TYPE_CHECKING:
    from services.partition_owner.service import OwnerStatistics


class Recorder(Protocol):
    """Hears of things as they happen."""

    def object_written(self, size_bytes: int, seconds: float) -> None: ...

    def append_answered(self) -> None: ...

    def fetch_answered(self, size_bytes: int, seconds: float) -> None: ...


class CountingRecorder:
    """Adds up."""

    def __init__(self) -> None:
        self.objects = 0
        self.object_bytes = 0
        self.appends = 0
        self.fetches = 0
        self.fetched_bytes = 0

    def object_written(self, size_bytes: int, seconds: float) -> None:  # noqa: ARG002 - for histograms
        self.objects += 1
        self.object_bytes += size_bytes

    def append_answered(self) -> None:
        self.appends += 1

    def fetch_answered(self, size_bytes: int, seconds: float) -> None:  # noqa: ARG002 - for histograms
        self.fetches += 1
        self.fetched_bytes += size_bytes


class MetricsRecorder(CountingRecorder):
    """Adds up, and shows it as metrics of the process."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._flush_seconds = metrics.histogram(
            "kafscale_flush_seconds", "from the assembly of a chain object until it is durable"
        )
        self._flush_bytes = metrics.histogram(
            "kafscale_flush_bytes", "size of a chain object", buckets=BYTES_BUCKETS
        )
        for name, description, read in (
            ("kafscale_chain_puts", "chain objects written", lambda: self.objects),
            ("kafscale_chain_bytes", "bytes of chain objects written", lambda: self.object_bytes),
            ("kafscale_owner_appends", "appends answered", lambda: self.appends),
            ("kafscale_owner_fetches", "fetches answered", lambda: self.fetches),
            ("kafscale_owner_fetched_bytes", "record bytes given to gateways", lambda: self.fetched_bytes),
        ):
            metrics.observed_counter(name, description, lambda read=read: [({}, read())])  # type: ignore[misc]
        metrics.gauge(
            "kafscale_puts_per_gib",
            "what durability costs: chain PUTs per GiB of chain bytes",
            lambda: self.objects * 2**30 / self.object_bytes if self.object_bytes else 0.0,
        )

    def object_written(self, size_bytes: int, seconds: float) -> None:
        super().object_written(size_bytes, seconds)
        self._flush_seconds.record(seconds)
        self._flush_bytes.record(size_bytes)


def show_statistics(metrics: Metrics, read: Callable[[], "OwnerStatistics"]) -> None:
    """What the owner holds beside what it may hold, read when somebody looks."""
    metrics.gauge("kafscale_partitions", "partitions that this owner has", lambda: read().partitions)
    metrics.gauge("kafscale_buffer_bytes", "bytes taken and not durable", lambda: read().unflushed_bytes)
    metrics.gauge("kafscale_buffer_bytes_max", "bound of those bytes", lambda: read().unflushed_bytes_max)
    metrics.gauge(
        "kafscale_appends_blocked",
        "append streams not read: the buffer is full",
        lambda: read().appends_blocked,
    )
    metrics.gauge("kafscale_reply_bytes", "record bytes of replies on their way", lambda: read().reply_bytes)
    metrics.gauge("kafscale_reply_bytes_max", "bound of those bytes", lambda: read().reply_bytes_max)
    metrics.labelled_gauge(
        "kafscale_cache_bytes",
        "bytes in a cache",
        lambda: [({"cache": "tail"}, read().tail_bytes), ({"cache": "cold"}, read().cold.used_bytes)],
    )
    metrics.labelled_gauge(
        "kafscale_cache_bytes_max",
        "bound of a cache",
        lambda: [({"cache": "tail"}, read().tail_bytes_max), ({"cache": "cold"}, read().cold.bytes_max)],
    )
    metrics.observed_counter(
        "kafscale_cache_hits",
        "reads that a cache answered",
        lambda: [({"cache": "tail"}, read().tail_hits), ({"cache": "cold"}, read().cold.hits)],
    )
    metrics.observed_counter(
        "kafscale_cache_misses",
        "reads that a cache could not answer",
        lambda: [({"cache": "tail"}, read().tail_misses), ({"cache": "cold"}, read().cold.misses)],
    )
    metrics.observed_counter(
        "kafscale_sessions", "sessions begun by this process", lambda: [({}, read().sessions_begun)]
    )
