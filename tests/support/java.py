"""Kafka's own Java tools, run as a user runs them.

Owns: their class names and how a test waits for them. Every run is bounded in time.
"""

import subprocess
from pathlib import Path

from tools.toolchain import kafka_command

RUN_SECONDS_MAX = 90

TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-configs": "org.apache.kafka.tools.ConfigCommand",
}


def run_tool(
    tool: str, bootstrap: str, *args: str, stdin: str | Path = "", seconds_max: int = RUN_SECONDS_MAX
) -> subprocess.CompletedProcess[str]:
    """Runs a tool to its end; its output is text. Does not raise on a non-zero exit."""
    command = kafka_command(TOOLS[tool], "--bootstrap-server", bootstrap, *args)
    text = stdin.read_text() if isinstance(stdin, Path) else stdin
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=seconds_max, check=False
    )


def must_run(tool: str, bootstrap: str, *args: str, stdin: str | Path = "") -> str:
    """Its standard output; fails the test with both outputs where it did not succeed."""
    done = run_tool(tool, bootstrap, *args, stdin=stdin)
    assert done.returncode == 0, f"{tool} {args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
