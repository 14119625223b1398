"""What runs of seeds print: one seed in detail, many as a table; and how to replay what failed.

Owns: words and files. Does not own: running a seed (run.py).
"""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tests.sim.run import Outcome, run_seed, total
from tests.sim.world.kill_points import Site, sites

_PROGRESS_EVERY_SECONDS = 15.0
_SLOWEST_TOLD = 3


def replay(outcome: Outcome) -> str:
    """The command that runs that seed again."""
    aimed = "".join(f' --aim "{part}"' for part in outcome.aim)
    return f"python -m tests.sim --seed {outcome.seed} --steps {outcome.steps}{aimed}"


def one(seed: int, *, steps: int, aim: Sequence[str], verbose: bool) -> int:
    """Prints a seed; 1 where it has violations."""
    outcome, history, trace = run_seed(seed, steps=steps, aim=aim, verbose=verbose)
    if verbose:
        sys.stdout.writelines(trace.lines)
    sys.stdout.write(
        f"seed {seed}: {outcome.operations} operations, {sum(outcome.faults.values())} faults,"
        f" {outcome.virtual_seconds:.0f} virtual seconds, {outcome.entries} entries\n"
        f"operations: {_list(Counter(outcome.by_operation))}\n"
        f"faults: {_list(total([outcome]))}\n"
        f"killed at: {', '.join(map(str, outcome.kill_points_hit)) or 'none of the awaits aimed at'}\n"
    )
    for violation in outcome.violations:
        sys.stdout.write(f"VIOLATION {violation}\n")
        for number in _evidence(violation):
            if 0 <= number < len(history):
                sys.stdout.write(f"    {history.entries[number]}\n")
    sys.stdout.write(f"trace {outcome.trace}\n")
    return 1 if outcome.violations else 0


def many(seeds: Sequence[int], *, steps: int, aim: Sequence[str], jobs: int, log: str = "") -> int:
    """Runs seeds in `jobs` processes; 1 where any has violations.

    `log`: a file for the whole report; meanwhile it has that of the seeds that are done.
    """
    began = time.monotonic()
    outcomes: list[Outcome] = []
    crashed: list[str] = []
    told_at = began
    with ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("forkserver")) as pool:
        running = {pool.submit(_outcome, seed, steps, aim): seed for seed in seeds}
        for done in as_completed(running):
            error = done.exception()
            if error is not None:
                crashed.append(f"seed {running[done]} --steps {steps}: {type(error).__name__}: {error}")
            else:
                outcomes.append(done.result())
                if outcomes[-1].violations:
                    sys.stderr.write(f"\n{replay(outcomes[-1])}\n  {outcomes[-1].violations[0][:300]}\n")
            now = time.monotonic()
            if now - told_at > _PROGRESS_EVERY_SECONDS:
                told_at = now
                failed = sum(1 for each in outcomes if each.violations) + len(crashed)
                sys.stderr.write(
                    f"\r{len(outcomes) + len(crashed)} of {len(seeds)} seeds, {failed} failed,"
                    f" {now - began:.0f} s "
                )
                sys.stderr.flush()
                if log:
                    Path(log).write_text(_report(outcomes, crashed, now - began))
    sys.stderr.write("\n")
    text = _report(outcomes, crashed, time.monotonic() - began)
    sys.stdout.write(text)
    if log:
        Path(log).write_text(text)
    return 1 if crashed or any(each.violations for each in outcomes) else 0


def _outcome(seed: int, steps: int, aim: Sequence[str]) -> Outcome:
    return run_seed(seed, steps=steps, aim=aim)[0]


def _report(outcomes: list[Outcome], crashed: list[str], wall_seconds: float) -> str:
    outcomes = sorted(outcomes, key=lambda each: each.seed)
    failed = [each for each in outcomes if each.violations]
    hit: Counter[Site] = Counter()
    for each in outcomes:
        hit.update(each.kill_points_hit)
    known = sites()
    missing = [str(site) for site in known if site not in hit]
    operations = sum(each.operations for each in outcomes)
    virtual_hours = sum(each.virtual_seconds for each in outcomes) / 3600
    faults = total(outcomes)
    injected = [sum(each.faults.values()) for each in outcomes]
    lines = [
        f"seeds: {len(outcomes) + len(crashed)}, failed: {len(failed) + len(crashed)}",
        f"operations: {operations}, at least {min((each.operations for each in outcomes), default=0)} a seed",
        f"faults: {sum(injected)}, at least {min(injected, default=0)} a seed",
        f"virtual time: {virtual_hours:.1f} h, wall time: {wall_seconds:.0f} s",
        f"CPU: {sum(each.cpu_seconds for each in outcomes):.0f} s; the slowest seeds: {_slowest(outcomes)}",
        "faults, and what stores did to single requests:",
        *(f"  {kind:24} {count}" for kind, count in sorted(faults.items())),
        f"kill points: {len(known) - len(missing)} of {len(known)} hit",
        *(f"  never killed at {site}" for site in missing),
        *(f"CRASHED {line}" for line in crashed),
    ]
    for each in failed:
        lines.append(f"FAILED seed {each.seed}, replay: {replay(each)}")
        lines += [f"  {violation}" for violation in each.violations[:5]]
        if len(each.violations) > 5:
            lines.append(f"  and {len(each.violations) - 5} more")
    return "\n".join(lines) + "\n"


def _slowest(outcomes: list[Outcome]) -> str:
    slowest = sorted(outcomes, key=lambda each: -each.cpu_seconds)[:_SLOWEST_TOLD]
    return ", ".join(f"{each.seed} ({each.cpu_seconds:.1f} s)" for each in slowest)


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()) if count)


def _evidence(violation: str) -> list[int]:
    _, _, numbers = violation.rpartition(" [#")
    return [int(each) for each in numbers.rstrip("]").split(", #")] if numbers.endswith("]") else []
