"""`make bench`: embedded and stack beside Apache Kafka, same machine, same run, as ratios.

The four rows: a producer at its defaults, one with large batches, a consumer of the whole topic, and the
latency of acknowledgements at 100 records a second. 8 partitions, 1 KiB records, acks=all; with and without
idempotence. One system runs at a time.
"""

import argparse
import os
import re
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from tests.bench.perf_tools import consume, create_topic, produce
from tests.support.background import running
from tests.support.platform import Mode, Platform, open_platform
from tools.servers import kafka_broker
from tools.stack.stack import HOST

PARTITIONS = 8
RECORD_BYTES = 1024
KAFKA = "Apache Kafka"
_PUTS = re.compile(
    rb'^kafscale_s3_operations_total\{[^}]*operation="put[^"]*"[^}]*\} (?P<value>[\d.e+]+)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    bootstrap: str
    puts: Callable[[], float] | None
    """How many objects were put so far; None where it puts none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    unit: str
    value: float
    more_is_better: bool = True


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--records", type=int, default=400_000, help="records of the throughput rows")
    parser.add_argument("--latency-seconds", type=int, default=20, help="length of the latency row")
    parser.add_argument(
        "--systems", default="kafka,embedded,stack", help="which to measure, of kafka, embedded, stack"
    )
    options = parser.parse_args()
    results: dict[str, list[Row]] = {}
    for name in options.systems.split(","):
        title = KAFKA if name == "kafka" else f"Kafscale, {name}"
        print(f"measuring {title}", file=sys.stderr, flush=True)
        with _SYSTEMS[name]() as system:
            results[title] = list(_measure(system, options.records, options.latency_seconds))
    _print_table(results)
    return 0


@contextmanager
def _kafka() -> Iterator[System]:
    with kafka_broker(partitions_default=PARTITIONS) as broker:
        yield System(bootstrap=broker.address, puts=None)


@contextmanager
def _kafscale(mode: Mode) -> Iterator[System]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kafscale-bench-")))
        background = stack.enter_context(running(partial(open_platform, mode, folder)))
        platform = background.value
        yield System(bootstrap=platform.bootstrap, puts=partial(_puts, platform))


_SYSTEMS: Mapping[str, Callable[[], AbstractContextManager[System]]] = {
    "kafka": _kafka,
    "embedded": partial(_kafscale, "embedded"),
    "stack": partial(_kafscale, "stack"),
}


def _puts(platform: Platform) -> float:
    total = 0.0
    for name, child in platform.children.items():
        if name.startswith(("owner", "standalone")):
            with urllib.request.urlopen(f"http://{HOST}:{child.ports.admin}/metrics", timeout=10) as reply:
                total += sum(float(each["value"]) for each in _PUTS.finditer(reply.read()))
    return total


def _measure(system: System, records: int, latency_seconds: int) -> Iterator[Row]:
    gibibytes = records * RECORD_BYTES / 2**30
    durable = {"acks": "all"}
    variants: dict[str, dict[str, str]] = {
        "producer at its defaults": {},
        "producer, idempotence off": {"enable.idempotence": "false"},
        "batch.size 512 KiB, linger 100 ms": {
            "batch.size": "524288",
            "linger.ms": "100",
            "enable.idempotence": "false",
        },
    }
    # The first records meet cold code and an empty cache: they are not counted.
    create_topic(system.bootstrap, "warm", partitions=PARTITIONS)
    produce(system.bootstrap, "warm", durable, records=records // 10, record_bytes=RECORD_BYTES)
    for number, (name, properties) in enumerate(variants.items()):
        topic = f"bench-{number}"
        create_topic(system.bootstrap, topic, partitions=PARTITIONS)
        before = system.puts() if system.puts else 0.0
        produced = produce(
            system.bootstrap, topic, durable | properties, records=records, record_bytes=RECORD_BYTES
        )
        yield Row(name=name, unit="MB/s", value=produced.megabytes_per_second)
        if system.puts:
            yield Row(
                name=f"  PUTs per GiB, {name}",
                unit="PUTs",
                value=(system.puts() - before) / gibibytes,
                more_is_better=False,
            )
    consumed = consume(system.bootstrap, "bench-0", records=records)
    yield Row(name="consumer, whole topic", unit="MB/s", value=consumed.megabytes_per_second)
    yield Row(name="  while fetching", unit="MB/s", value=consumed.fetching_megabytes_per_second)
    create_topic(system.bootstrap, "latency", partitions=PARTITIONS)
    slow = produce(
        system.bootstrap,
        "latency",
        durable | {"enable.idempotence": "false"},
        records=100 * latency_seconds,
        record_bytes=RECORD_BYTES,
        throughput=100,
    )
    yield Row(name="100 records/s, p50", unit="ms", value=slow.p50_ms, more_is_better=False)
    yield Row(name="100 records/s, p99", unit="ms", value=slow.p99_ms, more_is_better=False)


def _print_table(results: Mapping[str, list[Row]]) -> None:
    """Markdown, to be pasted into docs/performance.md."""
    memory = psutil.virtual_memory().total / 2**30
    print(f"\n{os.cpu_count()} cores, {memory:.0f} GiB; ratios are ours over Apache Kafka's\n")
    titles = list(results)
    print("| | " + " | ".join(titles) + " |")
    print("|---" * (len(titles) + 1) + "|")
    rows = max(results.values(), key=len)
    for row in rows:
        cells = []
        reference = _find(results.get(KAFKA, []), row.name)
        for title in titles:
            found = _find(results[title], row.name)
            if found is None:
                cells.append("-")
                continue
            ratio = "" if title == KAFKA or not reference else f" ({found.value / reference.value:.2f}x)"
            cells.append(f"{found.value:.1f}{ratio}")
        print(f"| {row.name}, {row.unit} | " + " | ".join(cells) + " |")


def _find(rows: list[Row], name: str) -> Row | None:
    return next((row for row in rows if row.name == name), None)


if __name__ == "__main__":
    sys.exit(main())
