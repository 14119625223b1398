"""Kafka's ProducerPerformance and ConsumerPerformance: run, and what they print as numbers.

Owns: their command lines and their output. Does not own: what is compared with what (__main__.py).
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tools.toolchain import kafka_command

RUN_SECONDS_MAX = 600
_JVM = ("-Xmx512m", "-XX:+UseSerialGC")
_PRODUCED = re.compile(
    r"(?P<records>\d+) records sent, (?P<rate>[\d.]+) records/sec \((?P<mb>[\d.]+) MB/sec\), "
    r"(?P<avg>[\d.]+) ms avg latency, (?P<max>[\d.]+) ms max latency, (?P<p50>\d+) ms 50th, "
    r"(?P<p95>\d+) ms 95th, (?P<p99>\d+) ms 99th"
)


class BenchError(Exception):
    """A tool did not finish or printed nothing that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    records: int
    megabytes_per_second: float
    """MiB, as the tool counts."""
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumed:
    records: int
    megabytes_per_second: float
    """Over the whole run, joining the group included."""
    fetching_megabytes_per_second: float
    """While fetching only."""


def produce(
    bootstrap: str,
    topic: str,
    properties: Mapping[str, str],
    *,
    records: int,
    record_bytes: int,
    throughput: int = -1,
) -> Produced:
    """Sends records; `properties` are the producer's, `throughput` is records a second, -1 for no limit."""
    options = [f"{name}={value}" for name, value in properties.items()]
    output = _run(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--bootstrap-server", bootstrap, "--topic", topic, "--num-records", str(records)),
        *("--record-size", str(record_bytes), "--throughput", str(throughput)),
        *(("--command-property", *options) if options else ()),
    )
    found = list(_PRODUCED.finditer(output))
    if not found:
        raise BenchError(f"ProducerPerformance printed no result:\n{output[-2000:]}")
    last = found[-1]
    return Produced(
        records=int(last["records"]),
        megabytes_per_second=float(last["mb"]),
        p50_ms=float(last["p50"]),
        p99_ms=float(last["p99"]),
    )


def consume(bootstrap: str, topic: str, *, records: int) -> Consumed:
    """Reads the whole topic in a new group, from the beginning."""
    output = _run(
        "org.apache.kafka.tools.ConsumerPerformance",
        *("--bootstrap-server", bootstrap, "--topic", topic, "--num-records", str(records)),
        *("--timeout", "60000", "--hide-header"),
    )
    rows = [line.split(", ") for line in output.splitlines() if line.count(", ") == 9]
    if not rows:
        raise BenchError(f"ConsumerPerformance printed no result:\n{output[-2000:]}")
    row = rows[-1]
    return Consumed(
        records=int(row[4]), megabytes_per_second=float(row[3]), fetching_megabytes_per_second=float(row[8])
    )


def create_topic(bootstrap: str, topic: str, *, partitions: int) -> None:
    _run(
        "org.apache.kafka.tools.TopicCommand",
        *("--bootstrap-server", bootstrap, "--create", "--topic", topic, "--partitions", str(partitions)),
    )


def _run(main_class: str, *args: str) -> str:
    command = kafka_command(main_class, *args, jvm=_JVM)
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False)
    if done.returncode != 0:
        raise BenchError(f"{main_class} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
