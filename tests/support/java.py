"""Kafka's own Java tools, run as a user runs them.

Owns: their class names, how a test waits for them, their class archives. Every run is bounded in time.
Rule: 1 the classes that a tool loads are archived in the toolchain's cache when it first ran (AppCDS): a tool
then starts in 0.5 s instead of 2; the JVM ignores an archive that does not fit.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from tools.toolchain import cache_dir, kafka_classpath, kafka_command

RUN_SECONDS_MAX = 90
END_SECONDS_MAX = 30

TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
}
_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xlog:disable")


def run_tool(
    tool: str, bootstrap: str, *args: str, stdin: str | Path = "", seconds_max: int = RUN_SECONDS_MAX
) -> subprocess.CompletedProcess[str]:
    """Runs a tool to its end; its output is text. Does not raise on a non-zero exit."""
    archive = _archive(tool)
    making = archive.with_suffix(f".{os.getpid()}")
    option = f"-XX:SharedArchiveFile={archive}" if archive.exists() else f"-XX:ArchiveClassesAtExit={making}"
    command = _command(tool, bootstrap, *args, jvm=(*_JVM, option))
    text = stdin.read_text() if isinstance(stdin, Path) else stdin
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=seconds_max, check=False
    )
    if making.exists():
        making.replace(archive)
    return done


def must_run(tool: str, bootstrap: str, *args: str, stdin: str | Path = "") -> str:
    """Its standard output; fails the test with both outputs where it did not succeed."""
    done = run_tool(tool, bootstrap, *args, stdin=stdin)
    assert done.returncode == 0, f"{tool} {args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def running_tool(tool: str, bootstrap: str, *args: str) -> Iterator[IO[str]]:
    """A tool that runs until the block ends, then gets SIGTERM; its standard output."""
    archive = _archive(tool)
    jvm = (*_JVM, f"-XX:SharedArchiveFile={archive}") if archive.exists() else _JVM
    with subprocess.Popen(
        _command(tool, bootstrap, *args, jvm=jvm),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()
            process.wait(END_SECONDS_MAX)


def _command(tool: str, bootstrap: str, *args: str, jvm: tuple[str, ...]) -> list[str]:
    return kafka_command(TOOLS[tool], "--bootstrap-server", bootstrap, *args, jvm=jvm)


def _archive(tool: str) -> Path:
    """Of this tool under this Java; the folder of the part is whole before it is used (toolchain.py)."""
    return _archives() / f"{tool}.jsa"


@cache
def _archives() -> Path:
    kafka = Path(kafka_classpath()).parents[1].name
    version = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
    java = version.split('"')[1]
    place = cache_dir() / "java-classes" / f"kafka-{kafka}-java-{java}"
    place.mkdir(parents=True, exist_ok=True)
    return place
