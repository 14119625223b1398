"""Kafka's own verifiable producer and consumer, whose lines become history.

Owns: their settings, threads that read their output. Does not own: the JVM's command (tests/support/java.py).
Rules: 1 the producer is idempotent and otherwise at its defaults (the tool itself would switch retries off);
2 an error that it would give to an application is kept.
Lines: org.apache.kafka.tools.VerifiableProducer and VerifiableConsumer of Kafka 4.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.history import Poll
from tests.chaos.load import CLOSE_SECONDS_MAX, Load
from tests.support.ledger import Place, Stamp
from tools.toolchain import kafka_command

_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xlog:disable")
_KEYS = 64
"""So many different keys that every partition gets some."""
_PRODUCER_NAME = 7000
"""The producer's name in its records: the tool takes numbers only."""

PRODUCER = {
    "enable.idempotence": "true",
    "retries": "2147483647",
    "linger.ms": "5",
    "metadata.max.age.ms": "5000",
}
CONSUMER = {"metadata.max.age.ms": "5000"}

Line = dict[str, Any]


@contextmanager
def java_producer(load: Load, directory: Path, *, records_per_second: int) -> Iterator[None]:
    """Produces until the block ends; then everything was answered."""
    name = str(_PRODUCER_NAME)
    load.history.producers.add(name)

    def feed(line: Line) -> None:
        if line["name"] == "producer_send_success":
            stamp = Stamp.of(line["value"].encode())
            load.booked(stamp, Place(line["partition"], line["offset"]))
        elif line["name"] == "producer_send_error":
            load.errors.append(f"java producer: {line['exception']}: {line['message']}")

    arguments = [
        *("--topic", load.topic, "--throughput", str(records_per_second), "--value-prefix", name),
        *("--repeating-keys", str(_KEYS), "--command-config", _properties(directory, "producer", PRODUCER)),
    ]
    with _tool(load, directory, "VerifiableProducer", arguments, feed):
        yield


@contextmanager
def java_member(load: Load, directory: Path, *, group: str) -> Iterator[None]:
    """One more member of a group of the load, until the block ends."""
    life = 0

    def feed(line: Line) -> None:
        nonlocal life
        if line["name"] == "partitions_assigned":
            life += 1
        elif line["name"] == "record_data":
            place = Place(line["partition"], line["offset"])
            stamp = Stamp.of(line["value"].encode())
            load.history.polls.append(Poll(time.monotonic(), "java-member", life, place, stamp))

    arguments = [
        *("--topic", load.topic, "--group-id", group, "--verbose", "--enable-autocommit"),
        *("--command-config", _properties(directory, "consumer", CONSUMER)),
    ]
    with _tool(load, directory, "VerifiableConsumer", arguments, feed):
        yield


def _properties(directory: Path, name: str, settings: dict[str, str]) -> str:
    path = directory / f"java-{name}.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return str(path)


@contextmanager
def _tool(
    load: Load, directory: Path, tool: str, arguments: list[str], feed: Callable[[Line], None]
) -> Iterator[None]:
    command = kafka_command(
        f"org.apache.kafka.tools.{tool}", "--bootstrap-server", load.bootstrap, *arguments, jvm=_JVM
    )
    with (
        (directory / f"{tool}.log").open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        reader = threading.Thread(target=_read, args=(load, process, tool, feed), daemon=True)
        reader.start()
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(CLOSE_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                load.errors.append(f"{tool} did not close")
                process.kill()
            reader.join(CLOSE_SECONDS_MAX)


def _read(load: Load, process: "subprocess.Popen[str]", tool: str, feed: Callable[[Line], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if not line.startswith("{"):
            continue  # a warning that the tool prints before it begins
        try:
            feed(json.loads(line))
        except (ValueError, KeyError) as error:
            load.errors.append(f"{tool} wrote {line!r}: {error!r}")
            return
