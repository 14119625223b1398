"""`python -m tools.bucket` as a person runs it, on a stack or on an embedded data directory.

Owns: its arguments, its answer. Does not own: the platform.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.load import wait_until
from tools.stack.layout import ACCESS_KEY, BUCKET, METADATA, SECRET_KEY
from tools.stack.stack import HOST, ROOT, Stack

SECONDS_MAX = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    code: int
    said: str
    told: str
    """On stderr."""


class BucketCommand:
    """The command with the settings of one platform."""

    def __init__(self, environment: dict[str, str], *, metadata: str = "") -> None:
        self._environment = environment
        self._metadata = metadata

    def run(self, command: str, *flags: str, with_metadata: bool = False) -> Answer:
        """Runs it to its end. `with_metadata`: the running metadata service is asked too."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KAFSCALE_")}
        environment |= self._environment
        if with_metadata:
            environment["KAFSCALE_METADATA_ADDRESSES"] = self._metadata
        done = subprocess.run(
            [sys.executable, "-m", "tools.bucket", command, *flags],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        return Answer(code=done.returncode, said=done.stdout, told=done.stderr)

    def done(self, command: str, *flags: str, with_metadata: bool = False) -> str:
        """What it said; it has to succeed."""
        answer = self.run(command, *flags, with_metadata=with_metadata)
        assert answer.code == 0, f"{answer.said}\n{answer.told}"
        return answer.said

    def snapshots(self) -> list[dict[str, Any]]:
        """The newest last."""
        found: list[dict[str, Any]] = json.loads(self.done("list-snapshots", "--json"))
        return found

    def wait_snapshot(self, *, after_ms: int, seconds_max: float = 30.0) -> dict[str, Any]:
        """A snapshot taken after that time."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [each for each in self.snapshots() if each["created_ms"] > after_ms]
            return bool(found)

        wait_until(is_there, seconds_max=seconds_max, every_seconds=0.2)
        return found[0]


def of_stack(stack: Stack) -> BucketCommand:
    """On its MinIO and etcd."""

    def address(name: str, port: Callable[[Any], int]) -> str:
        return f"{HOST}:{port(stack.children[name].ports)}"

    return BucketCommand(
        {
            "KAFSCALE_S3_BUCKET": BUCKET,
            "KAFSCALE_S3_ENDPOINT": f"http://{address('minio', lambda ports: ports.admin)}",
            "KAFSCALE_S3_ACCESS_KEY": ACCESS_KEY,
            "KAFSCALE_S3_SECRET_KEY": SECRET_KEY,
            "KAFSCALE_ETCD_ENDPOINTS": address("etcd", lambda ports: ports.admin),
        },
        metadata=",".join(address(name, lambda ports: ports.rpc) for name in METADATA),
    )


def of_directory(data_dir: Path) -> BucketCommand:
    """On an embedded platform's data directory."""
    return BucketCommand({"KAFSCALE_DATA_DIR": str(data_dir)})
