"""`make chaos MINUTES=10 SEED=7`: one run of chaos.

Its report is in dist/chaos; its exit code is 1 where it found something.
"""

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.report import figures, page
from tests.chaos.run import Outcome, Plan, run_chaos
from tests.chaos.schedule import KINDS, Fault, schedule
from tools.stack.stack import ROOT

OUTPUT = ROOT / "dist" / "chaos"
_SETTLE_SECONDS = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="default: a new one, which is told")
    parser.add_argument("--kinds", default="", help=f"only these, by commas: {', '.join(KINDS)}")
    parser.add_argument(
        "--etcd-down", type=float, metavar="SECONDS", help="nothing but this, then etcd again"
    )
    parser.add_argument("--no-java", action="store_true", help="librdkafka's clients only")
    plan = _plan(parser.parse_args())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else what was started would stay: `timeout`
    began = time.monotonic()

    def tell(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:7.1f} {line}\n")
        sys.stdout.flush()

    tell(f"seed {plan.seed}")
    with tempfile.TemporaryDirectory(prefix="kafscale-chaos-") as folder:
        outcome = run_chaos(Path(folder), plan, tell=tell)
        report = _write(outcome, Path(folder))
    for name, value in (*figures(outcome).items(), *((note, "") for note in outcome.notes)):
        tell(f"{name}: {value}" if value else name)
    for finding in outcome.findings:
        tell(f"BROKEN {finding}")
    tell("no promise was broken" if not outcome.findings else f"again: {plan.command}")
    tell(f"report: {report}")
    return 1 if outcome.findings else 0


def _plan(options: argparse.Namespace) -> Plan:
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    has_java = not options.no_java
    if options.etcd_down is not None:
        down = Fault(kind="kill etcd", at=_SETTLE_SECONDS, lasts=options.etcd_down, targets=("etcd",))
        seconds = options.etcd_down + 3 * _SETTLE_SECONDS
        command = f"python -m tests.chaos --etcd-down {options.etcd_down:g}"
        return Plan(
            seed=seed, seconds=seconds, faults=[down], command=command, has_java=has_java, is_steady=True
        )
    kinds = [kind.strip() for kind in options.kinds.split(",")] if options.kinds else list(KINDS)
    if unknown := set(kinds) - set(KINDS):
        raise SystemExit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    seconds = options.minutes * 60
    command = f"make chaos MINUTES={options.minutes:g} SEED={seed}"
    if options.kinds:
        command += f" CHAOS=\"--kinds '{options.kinds}'\""
    faults = schedule(seed, seconds, kinds)
    return Plan(seed=seed, seconds=seconds, faults=faults, command=command, has_java=has_java)


def _write(outcome: Outcome, folder: Path) -> Path:
    """The report; the processes' logs beside it where something was found."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    name = f"seed-{outcome.plan.seed}"
    if outcome.findings:
        logs = OUTPUT / f"{name}-logs"
        shutil.rmtree(logs, ignore_errors=True)
        shutil.copytree(folder / "stack" / "logs", logs)
        outcome.notes.append(f"logs: {logs}")
    report = OUTPUT / f"{name}.html"
    report.write_text(page(outcome))
    return report


if __name__ == "__main__":
    sys.exit(main())
