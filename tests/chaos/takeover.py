"""What the end of an owner costs on real processes: `python -m tests.chaos.takeover`, figures as Markdown.

Owns: the command, the arithmetic of a backlog, the table. Does not own: what happens (dead_owner.py).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from services.partition_owner.config import OwnerOptions
from services.partition_owner.flush_policy import GATHER_SECONDS_MAX, GATHER_SHARE
from tests.chaos.dead_owner import DeadOwnerScene, Takeover, open_dead_owner_scene
from tests.chaos.fleet import Fleet
from tests.chaos.timeline import quantile
from tests.support.ledger import Violation
from tools.stack.layout import OWNERS

RECORDS_EACH = 3
ACKNOWLEDGED_SECONDS_MAX = 300.0
BACKLOG_SECONDS_MAX = 900.0
_AHEAD_RECORDS = 500
_SHOWN = 10

NEVER_COMPACTED = {"KAFSCALE_COMPACTION_AGE_SECONDS": "86400"}
MANY_SMALL_OBJECTS = {
    **NEVER_COMPACTED,
    "KAFSCALE_FLUSH_LINGER_MS": "0",
    "KAFSCALE_FLUSH_ALONE_MS": "0",
    "KAFSCALE_FLUSH_PUTS_PER_SECOND": "100000",
    "KAFSCALE_FLUSH_PUTS_BURST": "100000",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="takeover", description=__doc__)
    parser.add_argument("--partitions", type=int, default=1000, help="of each of the three owners")
    parser.add_argument("--delay-ms", type=float, default=30.0, help="what each request to MinIO takes more")
    parser.add_argument("--times", type=int, default=1, help="repetitions, each on a new stack")
    parser.add_argument(
        "--backlog-minutes",
        type=float,
        metavar="MINUTES",
        help="instead: one partition, with as many chain objects as it gets in this time uncompacted",
    )
    parser.add_argument("--folder", type=Path, help="where logs and data stay; default: nowhere")
    options = parser.parse_args()
    findings: list[Violation] = []
    _tell(f"load average at the beginning: {os.getloadavg()[0]:.1f}")
    for number in range(options.times):
        with tempfile.TemporaryDirectory(prefix="kafscale-takeover-") as scratch:
            folder = (options.folder or Path(scratch)) / str(number)
            if options.backlog_minutes is None:
                findings += _many(folder, options.partitions, options.delay_ms / 1000)
            else:
                findings += _backlog(folder, options.backlog_minutes, options.delay_ms / 1000)
    _tell(f"load average at the end: {os.getloadavg()[0]:.1f}")
    _tell("\n".join(map(str, findings[:_SHOWN])) or "every acknowledged record is at its offset, once")
    return 1 if findings else 0


def _many(folder: Path, partitions: int, delay_seconds: float) -> list[Violation]:
    with open_dead_owner_scene(folder) as scene:
        began = time.monotonic()
        scene.create_topics(partitions * len(OWNERS))
        fleet = Fleet(scene.bootstrap)
        fleet.send(scene.parts, each=RECORDS_EACH)
        fleet.wait_acknowledged(seconds_max=ACKNOWLEDGED_SECONDS_MAX)
        scene.delay(delay_seconds)
        _tell(f"{len(scene.parts)} partitions in {len(scene.topics)} topics, written to after ", end="")
        _tell(f"{time.monotonic() - began:.0f} s; load average {os.getloadavg()[0]:.1f}")
        _report(scene.kill(OWNERS[-1], fleet))
        return _judged(scene, fleet)


def backlog_objects(minutes: float, put_seconds: float) -> int:
    """Chain objects of an owner that writes one partition all the time, at its default settings.

    One PUT follows the other after a pause in which producers come back; where that makes fewer than the
    PUT budget allows, the budget adds PUTs beside those in flight (flush_policy.py, rules 1 and 2).
    """
    one_by_one = 1 / (put_seconds + min(put_seconds * GATHER_SHARE, GATHER_SECONDS_MAX))
    return round(minutes * 60 * max(one_by_one, OwnerOptions().flush_puts_per_second))


def _backlog(folder: Path, minutes: float, delay_seconds: float) -> list[Violation]:
    wanted = backlog_objects(minutes, delay_seconds)
    with open_dead_owner_scene(folder, **MANY_SMALL_OBJECTS) as scene:
        scene.create_topics(1)
        fleet = Fleet(scene.bootstrap, linger_ms=0, batch_num_messages=1)
        owner = scene.owner_of(scene.parts[0])
        began = time.monotonic()
        while (written := scene.chain_puts(owner)) < wanted:
            if time.monotonic() - began > BACKLOG_SECONDS_MAX:
                raise TimeoutError(f"{written} of {wanted} objects after {BACKLOG_SECONDS_MAX:.0f} s")
            fleet.send(scene.parts, each=max(0, _AHEAD_RECORDS - fleet.in_flight))
            fleet.poll()
            time.sleep(0.1)
        fleet.wait_acknowledged(seconds_max=ACKNOWLEDGED_SECONDS_MAX)
        _tell(f"{scene.chain_puts(owner)} chain objects ({wanted} wanted) after ", end="")
        _tell(f"{time.monotonic() - began:.0f} s; load average {os.getloadavg()[0]:.1f}")
        scene.delay(delay_seconds)
        _report(scene.kill(owner, fleet))
        return _judged(scene, fleet)


def _judged(scene: DeadOwnerScene, fleet: Fleet) -> list[Violation]:
    scene.delay(0)
    broken = [Violation(kind="not delivered", what=each) for each in fleet.errors]
    return [*broken, *scene.verdict(fleet)]


def _report(done: Takeover) -> None:
    _tell(f"first assignment moved {done.noticed:.2f} s after the kill\n")
    _tell("| seconds | partitions | min | median | p90 | max |\n|---|---|---|---|---|---|")
    _tell(_row("open on another owner, from the kill", done.opened.values()))
    _tell(_row("produce acknowledged, from the kill", done.acknowledged.values()))
    _tell(_row("an opening, by the new owner's log", done.openings))
    cpu = ", ".join(f"{name} {seconds:.1f}" for name, seconds in done.cpu.items())
    _tell(f"\nprocessor seconds until all were open: {cpu}\n")


def _row(what: str, seconds: Iterable[float]) -> str:
    known = list(seconds)
    found = [quantile(known, share) for share in (0.0, 0.5, 0.9, 1.0)]
    spread = " | ".join("-" if each is None else f"{each:.2f}" for each in found)
    return f"| {what} | {len(known)} | {spread} |"


def _tell(text: str, *, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
