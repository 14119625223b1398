"""What the owner counts, and how it is called.

Owns: the numbers and their names. Does not own: the exporter (libs/telemetry).
Rules: 1 the hot path adds to plain integers, they are read when somebody looks; 2 histograms get one value
an object or one a fetch.
"""

from typing import Protocol

from libs.telemetry.metrics import BYTES_BUCKETS, Metrics


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
