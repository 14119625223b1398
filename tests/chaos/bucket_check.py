"""Asks the bucket verifier, as an operator would, whether everything is in the bucket and nothing too much.

Owns: its command line, waiting for collection. Does not own: the verification (tools/bucket).
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from tools.stack.stack import ROOT, Stack

_RUN_SECONDS_MAX = 300.0
_AGAIN_SECONDS = 3.0
_SHOWN = 5

QUICK_LIFE: Mapping[str, str] = {
    "KAFSCALE_COMPACTION_AGE_SECONDS": "10",
    "KAFSCALE_COMPACTION_BEHIND_SECONDS": "5",
    "KAFSCALE_COMPACTION_CHECK_SECONDS": "1",
    "KAFSCALE_COLLECTION_CHECK_SECONDS": "2",
    "KAFSCALE_COLLECTION_DELAY_SECONDS": "3",
    "KAFSCALE_COLLECTION_SWEEP_SECONDS": "15",
    "KAFSCALE_RETENTION_CHECK_SECONDS": "5",
    "KAFSCALE_SNAPSHOT_SECONDS": "15",
}
"""Settings by which records go through their whole life within a run of minutes."""


def verify(stack: Stack) -> tuple[list[str], str]:
    """What is wrong, a line each; what there is."""
    report = _report(stack)
    seen = {kind: tally["objects"] for kind, tally in report.get("seen", {}).items()}
    return _findings(report), f"objects in the bucket: {seen}"


def wait_no_orphan(stack: Stack, *, seconds_max: float) -> list[str]:
    """Until nothing waits for collection any more; what still does, where that takes too long."""
    deadline = time.monotonic() + seconds_max
    while True:
        report = _report(stack, "--orphans")
        left = _findings(report)
        if not left or time.monotonic() > deadline:
            return left + ([f"to be collected: {report['garbage']}"] if left else [])
        time.sleep(_AGAIN_SECONDS)


def _report(stack: Stack, *options: str) -> dict[str, Any]:
    environment = {
        name: value
        for name, value in stack.environment_for("owner-0").items()
        if name.startswith("KAFSCALE_")
    }
    done = subprocess.run(
        [sys.executable, "-m", "tools.bucket", "verify", "--json", *options],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_RUN_SECONDS_MAX,
        check=False,
    )
    if not done.stdout:
        return {"findings": [{"kind": "it could not run", "what": done.stderr[-2000:]}], "garbage": {}}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _findings(report: Mapping[str, Any]) -> list[str]:
    found = [" ".join(str(value) for value in each.values()) for each in report["findings"]]
    return found if len(found) <= _SHOWN else [*found[:_SHOWN], f"and {len(found) - _SHOWN} more"]
