"""`python -m tests.sim`: one seed, or many."""

import argparse
import sys
import time

from tests.sim.world.determinism import ensure_fixed_hashes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--lines", type=int, default=0)
    arguments = parser.parse_args()
    ensure_fixed_hashes(["-m", "tests.sim", *sys.argv[1:]])
    import logging

    import structlog

    from tests.sim.run import run_seed  # noqa: PLC0415

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

    began = time.process_time()
    outcome = run_seed(arguments.seed, steps=arguments.steps, lines_kept=arguments.lines)
    sys.stdout.writelines(outcome.trace.lines)
    print(
        dict(outcome.counts.by_operation),
        outcome.counts.operations,
        dict(outcome.counts.faults),
        len(outcome.history),
    )
    print(f"virtual {outcome.virtual_seconds:.1f}s cpu {time.process_time() - began:.2f}s")
    print("trace", outcome.trace.digest())
    return 0


if __name__ == "__main__":
    sys.exit(main())
