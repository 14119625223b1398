"""Runs the whole platform from an image: ready, records in and out, an orderly end.

Owns: one run. Does not own: how an image is run (sandbox.py).
"""

import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from confluent_kafka import Consumer, Producer

from tools.images.sandbox import Image, run, start
from tools.images.targets import ROOT
from tools.recipes import ToolchainError
from tools.servers import free_ports

HOST = "127.0.0.1"
RECORDS = 100
START_SECONDS_MAX = 60.0
CLIENT_SECONDS_MAX = 30.0
END_SECONDS_MAX = 40.0
LOG_CHARS_SHOWN = 2000

# What `helm test` runs in the services' image.
_HELM_TEST = ROOT / "charts" / "kafscale" / "files" / "produce_and_consume.py"
_TOPIC = "images-check"


def serve(image: Image, data: Path, command: Sequence[str], *, stored: int) -> str:
    """One run of the standalone service on a folder that has so many records, told in one line.

    Raises ToolchainError after the end of the service's log.
    """
    with tempfile.TemporaryFile("w+") as log:
        try:
            return _serve(image, data, command, stored, log)
        except ToolchainError:
            log.seek(0)
            print(log.read()[-LOG_CHARS_SHOWN:])
            raise


def _serve(image: Image, data: Path, command: Sequence[str], stored: int, log: IO[str]) -> str:
    kafka_port, admin_port = free_ports(2)
    env = {
        "KAFSCALE_BIND_HOST": HOST,
        "KAFSCALE_KAFKA_PORT": str(kafka_port),
        "KAFSCALE_ADMIN_PORT": str(admin_port),
        "KAFSCALE_LOG_FORMAT": "json",
    }
    bootstrap = f"{HOST}:{kafka_port}"
    process = start(image, data, command, env=env, output=log)
    try:
        _wait_ready(f"http://{HOST}:{admin_port}/readyz", process)
        values = [f"record {number}" for number in range(stored + RECORDS)]
        _produce(bootstrap, values[stored:])
        _consume(bootstrap, values)
        code, printed = run(image, data, ("python", "-", bootstrap, "helm-test"), script=_HELM_TEST)
        if code != 0:
            raise ToolchainError(f"the charts' own test failed: {printed.strip()[-200:]}")
        seconds = _end(process)
    finally:
        process.kill()
        process.wait()
    return (
        f"ready; {RECORDS} records in and {len(values)} out by confluent-kafka; the charts' test passed; "
        f"SIGTERM ended it with 0 after {seconds:.1f} s"
    )


def _wait_ready(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    told = "nothing"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ToolchainError(f"it ended with {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - loopback, named above
                return
        except urllib.error.HTTPError as error:
            told = error.read().decode().strip()
        except OSError as error:
            told = str(error)
        time.sleep(0.1)
    raise ToolchainError(f"not ready after {START_SECONDS_MAX:.0f} s: /readyz says {told}")


def _produce(bootstrap: str, values: Sequence[str]) -> None:
    failed: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    for value in values:
        producer.produce(
            _TOPIC, value, on_delivery=lambda error, _: failed.append(str(error)) if error else None
        )
    left = producer.flush(CLIENT_SECONDS_MAX)
    if left or failed:
        raise ToolchainError(
            f"{left + len(failed)} of {len(values)} records were not acknowledged: {failed[:1]}"
        )


def _consume(bootstrap: str, values: Sequence[str]) -> None:
    group = {"group.id": f"images-check-{len(values)}", "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": bootstrap, **group})
    deadline = time.monotonic() + CLIENT_SECONDS_MAX
    read: list[str] = []
    try:
        consumer.subscribe([_TOPIC])
        while len(read) < len(values) and time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                read.append((message.value() or b"").decode())
    finally:
        consumer.close()
    if read != [*values]:
        raise ToolchainError(
            f"{len(read)} records were read in {CLIENT_SECONDS_MAX:.0f} s, not {len(values)}"
        )


def _end(process: subprocess.Popen[str]) -> float:
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"SIGTERM did not end it in {END_SECONDS_MAX:.0f} s") from None
    if code != 0:
        raise ToolchainError(f"SIGTERM ended it with {code}, not with 0")
    return time.monotonic() - started
