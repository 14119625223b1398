"""`python -m tests.sim`: one seed, or many.

Owns: arguments, what is printed, the exit code: 1 where a seed has violations.
"""

import argparse
import sys
import time

from tests.sim.world.determinism import ensure_fixed_hashes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", help="many: A..B, both included")
    parser.add_argument("--steps", type=int, default=2000, help="operations of clients in each seed")
    parser.add_argument(
        "--aim",
        action="append",
        default=[],
        help="kill at each await that has this in its name (opening.py:207, Opener._close); may be repeated",
    )
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    parser.add_argument("--log", default="", help="file for the log of many seeds")
    parser.add_argument("--verbose", action="store_true", help="all log lines and all steps of the one seed")
    arguments = parser.parse_args()
    ensure_fixed_hashes(["-m", "tests.sim", *sys.argv[1:]])
    from tests.sim import report  # noqa: PLC0415 - only now are hashes fixed
    from tests.sim.world.kill_points import is_named, sites  # noqa: PLC0415

    began = time.process_time()
    steps, aim = arguments.steps, arguments.aim
    for part in aim:
        if not any(is_named(site, part) for site in sites()):
            parser.error(f"no await is called {part!r}")
    if arguments.seeds:
        first, _, last = arguments.seeds.partition("..")
        seeds = range(int(first), int(last or first) + 1)
        return report.many(seeds, steps=steps, aim=aim, jobs=arguments.jobs, log=arguments.log)
    code = report.one(arguments.seed or 1, steps=steps, aim=aim, verbose=arguments.verbose)
    sys.stdout.write(f"{time.process_time() - began:.1f} s of CPU\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
