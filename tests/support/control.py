"""The control port as people use it: grpcurl and curl.

Owns: running grpcurl, reading Prometheus text. Every call is bounded in time; in its JSON fields have their
names in the .proto, and 64-bit numbers are strings.
"""

import json
import subprocess
from typing import Any, NamedTuple

import httpx

from tools.toolchain import tool_path

CALL_SECONDS_MAX = 60
CONTROL = "kafscale.control.BrokerControl"


class Called(NamedTuple):
    code: int
    stdout: str
    stderr: str


def grpcurl(address: str, *what: str, request: Any = None, flags: tuple[str, ...] = ()) -> Called:
    """`grpcurl -plaintext address what...`."""
    data = [] if request is None else ["-d", json.dumps(request)]
    command = [str(tool_path("grpcurl")), "-plaintext", *flags, *data, address, *what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS_MAX, check=False)
    return Called(done.returncode, done.stdout, done.stderr)


def call(address: str, method: str, request: Any = None) -> Any:
    """A unary method of BrokerControl; its answer, with every field. Fails where it is an error."""
    called = grpcurl(address, f"{CONTROL}/{method}", request=request or {}, flags=("-emit-defaults",))
    assert called.code == 0, called.stderr
    return json.loads(called.stdout)


def get(address: str, path: str) -> httpx.Response:
    """`curl http://address/path`."""
    return httpx.get(f"http://{address}{path}", trust_env=False, timeout=CALL_SECONDS_MAX)


def metric_families(text: str) -> dict[str, str]:
    """Type of each family; fails where one is told twice."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in found, f"{name} is told twice"
            found[name] = kind
    return found


def metric_value(text: str, name: str) -> float:
    """The sum over all labels; fails where there is none."""
    values = [
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith((f"{name} ", f"{name}{{"))
    ]
    assert values, f"there is no {name}"
    return sum(values)
