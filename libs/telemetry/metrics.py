"""Metrics of one process: instruments, the Prometheus text, and samples for StreamMetrics.

Owns: one MeterProvider and one registry per process (two readers would double every family).
Rules: 1 names begin with `kafscale_`; 2 durations are in seconds with explicit buckets; 3 an attribute has
few values: never a topic of a client's choosing, a member or a connection, unless it is bounded.
The exporter adds `_total` to counters and repeats units, so units stay out of the instruments.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = [
    "BYTES_BUCKETS",
    "CONTENT_TYPE",
    "SECONDS_BUCKETS",
    "Counter",
    "Histogram",
    "Labels",
    "Metrics",
    "Sample",
    "Tally",
]

Labels = Mapping[str, str]

SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BYTES_BUCKETS = (1024.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 8388608.0, 67108864.0)

CONTENT_TYPE = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    name: str
    labels: Labels
    value: float


class Tally:
    """A counter for hot paths: adds to a number in a dictionary, which is read when somebody looks."""

    __slots__ = ("_label_names", "_totals")

    def __init__(self, label_names: Sequence[str]) -> None:
        self._label_names = tuple(label_names)
        self._totals: dict[tuple[str, ...], float] = {}

    def add(self, amount: float, *label_values: str) -> None:
        self._totals[label_values] = self._totals.get(label_values, 0) + amount

    def read(self) -> Iterable[tuple[Labels, float]]:
        return [
            (dict(zip(self._label_names, values, strict=True)), total)
            for values, total in list(self._totals.items())
        ]


class Metrics:
    """Makes instruments and shows what they hold. Close it at the end of the process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._reader = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self._registry
        )
        self._provider = MeterProvider(metric_readers=[self._reader], shutdown_on_exit=False)
        self._meter = self._provider.get_meter("kafscale")
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def counter(self, name: str, description: str) -> Counter:
        return self._meter.create_counter(name, description=description)

    def histogram(
        self, name: str, description: str, *, buckets: Sequence[float] = SECONDS_BUCKETS
    ) -> Histogram:
        return self._meter.create_histogram(
            name, description=description, explicit_bucket_boundaries_advisory=list(buckets)
        )

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """A gauge that is read when somebody looks."""
        self.labelled_gauge(name, description, lambda: [({}, read())])

    def labelled_gauge(
        self, name: str, description: str, read: Callable[[], Iterable[tuple[Labels, float]]]
    ) -> None:
        self._meter.create_observable_gauge(name, callbacks=[_observing(read)], description=description)

    def observed_counter(
        self, name: str, description: str, read: Callable[[], Iterable[tuple[Labels, float]]]
    ) -> None:
        """A counter kept elsewhere, read when somebody looks: costs the hot path nothing."""
        self._meter.create_observable_counter(name, callbacks=[_observing(read)], description=description)

    def tally(self, name: str, description: str, *label_names: str) -> Tally:
        """A counter that costs the hot path a tenth of what an instrument does."""
        tally = Tally(label_names)
        self.observed_counter(name, description, tally.read)
        return tally

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self._registry)

    def samples(self) -> Iterator[Sample]:
        for family in self._registry.collect():
            for sample in family.samples:
                yield Sample(name=sample.name, labels=sample.labels, value=sample.value)

    def close(self) -> None:
        self._provider.shutdown()


def _observing(
    read: Callable[[], Iterable[tuple[Labels, float]]],
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(labels)) for labels, value in read()]

    return observe
