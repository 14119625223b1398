"""How long produce pauses when something dies or moves: `python -m tests.chaos.measure`, a table.

Owns: the repetition, the table. Does not own: what happens and is measured (scene.py), the promises (tests).
A pause is the longest time between two acknowledgements of a partition, as the producers saw them.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.load import Load, Truth
from tests.chaos.scene import RECOVERY_SECONDS_MAX, Killed, Scene, open_scene, scene_under_load, slowest
from tests.chaos.timeline import quantile

TIMES_MAX = 60
_OF = "min, median, p90, max"
SETTLE_SECONDS = 1.0
"""How long after the first acknowledgement of each partition a second pause would still be seen."""

Act = Callable[[Scene, str], Killed]


def _drain(scene: Scene, topic: str) -> Killed:
    partitions = scene.wait_partitions_of("owner-0", topic)
    at = time.monotonic()
    scene.drain("owner-0")
    return Killed(name="owner-0", at=at, in_flight=(), partitions=partitions)


ACTS: dict[str, Act] = {
    "drain of an owner": _drain,
    "SIGTERM of an owner": lambda scene, topic: scene.terminate("owner-1", topic),
    "kill -9 of an owner": lambda scene, topic: scene.kill("owner-2", topic),
    "SIGTERM of a gateway": lambda scene, topic: scene.terminate("gateway-0", topic),
    "kill -9 of a gateway": lambda scene, topic: scene.kill("gateway-1", topic),
    "kill -9 of the controller": lambda scene, topic: scene.kill(scene.controller(), topic),
    "kill -9 of etcd": lambda scene, topic: scene.kill("etcd", topic),
    "kill -9 and restart of MinIO": lambda scene, topic: scene.kill("minio", topic),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="measure", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help=f"repetitions of each, up to {TIMES_MAX}")
    parser.add_argument("--only", default="", help=f"part of the name of one of: {', '.join(ACTS)}")
    options = parser.parse_args()
    times = min(options.times, TIMES_MAX)
    acts = {what: act for what, act in ACTS.items() if options.only in what}
    with tempfile.TemporaryDirectory(prefix="kafscale-measure-") as folder, open_scene(Path(folder)) as scene:
        _tell(f"in seconds: {_OF}\n")
        _tell("| what | times | its partitions | others | the longest of each time | errors told |")
        _tell("|---|---|---|---|---|---|")
        for number, (what, act) in enumerate(acts.items()):
            topic = f"measure-{number}"
            with scene_under_load(scene, topic) as load:
                _tell(_row(what, scene, load, topic, act, times))
                broken = [*load.errors, *scene.verdict(load, Truth(scene.bootstrap, topic))]
            if broken:
                _tell("\n".join(map(str, broken[:10])))
                return 1
    _tell(f"\nload average at the end: {os.getloadavg()[0]:.1f}")
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _row(what: str, scene: Scene, load: Load, topic: str, act: Act, times: int) -> str:
    own: list[float] = []
    others: list[float] = []
    longest: list[float] = []
    errors: float | None = None
    for _ in range(times):
        errors_before = scene.produce_errors()
        done = act(scene, topic)
        if done.name == "minio":
            scene.restart("minio")
        load.wait_all_acknowledged_after(time.monotonic() + SETTLE_SECONDS, seconds_max=RECOVERY_SECONDS_MAX)
        pauses = load.times.pauses(done.at)
        longest.append(slowest(pauses, done.partitions) if done.partitions else slowest(pauses))
        for pause in pauses:
            (own if pause.partition in done.partitions else others).append(pause.seconds)
        if done.name.startswith("owner"):  # gateways that ended forgot what they counted
            errors = (errors or 0.0) + scene.produce_errors() - errors_before
        scene.restart(done.name)
        load.wait_all_acknowledged_after(time.monotonic() + SETTLE_SECONDS, seconds_max=RECOVERY_SECONDS_MAX)
    told = "not counted" if errors is None else f"{errors:.0f}"
    return f"| {what} | {times} | {_spread(own)} | {_spread(others)} | {_spread(longest)} | {told} |"


def _spread(seconds: list[float]) -> str:
    found = [quantile(seconds, share) for share in (0.0, 0.5, 0.9, 1.0)]
    return ", ".join(f"{each:.2f}" for each in found if each is not None) or "-"


if __name__ == "__main__":
    sys.exit(main())
