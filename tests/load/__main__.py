"""`python -m tests.load`: each scenario on real processes, as a table.

Its exit code is 1 where a bound or a promise was broken. Latencies are what this machine gave, not promises;
but the tail beside a reader from far back is judged, against itself without that reader.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from libs.model.limits import MIB
from tests.load.scenarios import SCENARIOS
from tests.load.scene import Outcome, open_scene, run
from tests.load.tail_kept import Latency

HEAD = (
    "| what | tail before: p50, p99 ms | during | recovered after s "
    "| owner, gateway, metadata: peak MiB (bound) | verdict | also |\n|---|---|---|---|---|---|---|\n"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each trouble")
    parser.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument("--only", default="", help="those with this in their name")
    parser.add_argument("--folder", type=Path, help="for data and logs, which stay; default: one that goes")
    options = parser.parse_args()
    seconds = options.seconds if options.minutes is None else options.minutes * 60
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        folder = options.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="kafscale-load-"))
        )
        scene = stack.enter_context(open_scene(folder))
        for name, scenario in SCENARIOS.items():
            if options.only in name:
                outcomes.append(run(scene, name, scenario, seconds=seconds))
                print(row(outcomes[-1]), flush=True)
    print(HEAD + "\n".join(map(row, outcomes)))
    for outcome in outcomes:
        for finding in outcome.findings:
            print(f"BROKEN {outcome.name}: {finding}")
    return 1 if any(outcome.findings for outcome in outcomes) else 0


def row(outcome: Outcome) -> str:
    roles = ("owner", "gateway", "metadata")
    peaks = ", ".join(
        f"{outcome.peak_bytes[role] / MIB:.0f} ({outcome.bound_bytes[role] / MIB:.0f})" for role in roles
    )
    also = "; ".join(f"{name} {value}" for name, value in outcome.facts.items())
    return (
        f"| {outcome.name} | {_told(outcome.before)} | {_told(outcome.during)}"
        f" | {outcome.recovered_seconds:.1f} | {peaks} | {outcome.verdict} | {also} |"
    )


def _told(latency: Latency) -> str:
    return f"{latency.p50 * 1000:.0f}, {latency.p99 * 1000:.0f}" if latency.count else "nothing sent was read"


if __name__ == "__main__":
    sys.exit(main())
