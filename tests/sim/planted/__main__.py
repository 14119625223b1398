"""`python -m tests.sim.planted`: plants each bug and runs seeds until its checker catches it.

Owns: arguments, the table, the exit code: 1 where a bug is not caught by the checker named for it.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tests.sim.world.determinism import ensure_fixed_hashes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--steps", type=int, default=2000, help="operations of clients in each seed")
    parser.add_argument("--jobs", type=int, default=1, help="bugs at a time")
    parser.add_argument("--only", action="append", default=[], help="the name of a bug; may be repeated")
    arguments = parser.parse_args()
    ensure_fixed_hashes(["-m", "tests.sim.planted", *sys.argv[1:]])
    from tests.sim.planted import table  # noqa: PLC0415 - only now are hashes fixed
    from tests.sim.planted.catalogue import BUGS  # noqa: PLC0415
    from tests.sim.planted.hunt import hunt  # noqa: PLC0415

    unknown = set(arguments.only) - set(BUGS)
    if unknown:
        parser.error(f"there is no bug {', '.join(sorted(unknown))}")
    names = arguments.only or list(BUGS)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    hunts = []
    sys.stdout.write(table.head())
    with ProcessPoolExecutor(max_workers=arguments.jobs, mp_context=get_context("forkserver")) as pool:
        search = partial(hunt, seeds=seeds, steps=arguments.steps)
        for found in pool.map(search, [BUGS[name] for name in names]):
            hunts.append(found)
            sys.stdout.write(table.row(found))
            sys.stdout.flush()
    sys.stdout.write(table.foot(hunts))
    return 0 if all(found.seed is not None for found in hunts) else 1


if __name__ == "__main__":
    sys.exit(main())
