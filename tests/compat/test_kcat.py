"""kcat at its defaults: produce, consume, metadata."""

import subprocess

from tests.support.names import unique
from tests.support.platform import Platform
from tools.toolchain import tool_path


def _kcat(*args: str, stdin: str = "") -> str:
    command = [str(tool_path("kcat")), *args]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_produce_consume_and_list(platform: Platform) -> None:
    topic = unique("kcat")
    lines = [f"line {number}" for number in range(50)]
    _kcat("-b", platform.bootstraps[0], "-P", "-t", topic, stdin="\n".join(lines) + "\n")
    consumed = _kcat("-b", platform.bootstraps[-1], "-C", "-t", topic, "-o", "beginning", "-e", "-q")
    assert sorted(consumed.splitlines()) == sorted(lines)
    assert f'topic "{topic}"' in _kcat("-b", platform.bootstrap, "-L", "-t", topic)


def test_consume_in_a_balanced_group(platform: Platform) -> None:
    topic = unique("kcat-group")
    _kcat("-b", platform.bootstrap, "-P", "-t", topic, stdin="one\ntwo\n")
    group = ("-G", unique("kcat"), "-c", "2", "-q", "-X", "auto.offset.reset=earliest", topic)
    assert sorted(_kcat("-b", platform.bootstrap, *group).splitlines()) == ["one", "two"]
