"""The real parts that tests and benchmarks run against, built or fetched once into a cache outside the tree.

Owns: the cache's layout, its locks, progress lines; where each program is.
Does not own: how a part is made (recipes.py).
Rules: 1 a part appears by one rename, so it is whole or absent; 2 a lock per part lets two runs share the
cache; 3 the key is name, version and a digest of the recipe's input files; 4 a failure is one line and the
log's name.

`python -m tools.toolchain` prepares all parts, `python -m tools.toolchain etcd minio` some of them.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.recipes import RECIPES, Recipe, ToolchainError, python39

PROGRESS_EVERY_S = 20.0
LOG_LINES_SHOWN = 15


def cache_dir() -> Path:
    """The folder of all parts: $KAFSCALE_TOOLCHAIN_DIR, else `kafscale` in the user's cache folder."""
    if chosen := os.environ.get("KAFSCALE_TOOLCHAIN_DIR"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kafscale"


def tool_path(program: str) -> Path:
    """The path of a program (minio, etcd, etcdctl, grpcurl, kcat, promtool), made first if it is not there.

    Raises ToolchainError when it can't be made, KeyError when no recipe makes it.
    """
    recipe = {made: recipe for recipe in RECIPES for made in recipe.programs}[program]
    return prepare(recipe) / program


def kafka_classpath() -> str:
    """The class path with Apache Kafka's broker, tools and clients and a quiet log configuration."""
    return str(prepare(_recipe("kafka")) / "jars" / "*")


def kafka_command(main_class: str, *args: str, jvm: Sequence[str] = ("-Xmx256m",)) -> list[str]:
    """The command line that runs a main class of Apache Kafka, e.g. org.apache.kafka.tools.TopicCommand."""
    log_config = prepare(_recipe("kafka")) / "log4j2.properties"
    logging = f"-Dlog4j2.configurationFile={log_config}"
    return ["java", *jvm, logging, "-cp", kafka_classpath(), main_class, *args]


def prometheus_crds() -> tuple[Path, ...]:
    """Manifests of the Prometheus operator's kinds that the chart and our operator make objects of."""
    return tuple(sorted(prepare(_recipe("prometheus-operator-crds")).glob("*.yaml")))


def pants_command(*args: str) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment on top that run Pants; ToolchainError without a Python 3.9."""
    packages = prepare(_recipe("pants")) / "packages"
    start = "from pants.bin.pants_loader import main; main()"
    environment = {
        "PYTHONPATH": str(packages),
        "PANTS_LOCAL_STORE_DIR": str(cache_dir() / "pants" / "store"),
        "PANTS_NAMED_CACHES_DIR": str(cache_dir() / "pants" / "named"),
        "PANTS_CONCURRENT": "true",
    }
    return [python39(), "-c", start, *args], environment


def prepare(recipe: Recipe) -> Path:
    """The folder of a part, made first if it is not there; safe to call from several processes."""
    place = _place(recipe)
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with _locked(place.parent / ".lock", recipe.name):
        if not place.is_dir():
            _make(recipe, place)
    return place


def _recipe(name: str) -> Recipe:
    return next(recipe for recipe in RECIPES if recipe.name == name)


def _lacking(recipe: Recipe) -> str | None:
    """What must be installed before the part can be made or, when it is made already, run; else None."""
    try:
        (recipe.needs_to_run if _place(recipe).is_dir() else recipe.needs)()
    except ToolchainError as error:
        return str(error)
    return None


def _place(recipe: Recipe) -> Path:
    digest = hashlib.sha256()
    for path in recipe.inputs:
        digest.update(path.read_bytes())
    suffix = f"-{digest.hexdigest()[:8]}" if recipe.inputs else ""
    return cache_dir() / recipe.name / f"{recipe.version}{suffix}"


@contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Holds the lock of a part; the system releases it when the process ends, however it ends."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{name}: another run is making it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(recipe: Recipe, place: Path) -> None:
    recipe.needs()
    _say(f"{recipe.name} {recipe.version}: {recipe.about}")
    for left_over in place.parent.glob(".making-*"):
        shutil.rmtree(left_over)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    folder.chmod(0o755)
    started = time.monotonic()
    log = place.parent / "last.log"
    log.write_text("")

    def run(*command: str, cwd: Path, **env: str) -> None:
        _run_step(recipe.name, command, cwd, env, log, started)

    try:
        recipe.build(run, folder)
        folder.rename(place)
    except BaseException:
        shutil.rmtree(folder)
        raise
    _say(f"{recipe.name}: ready after {time.monotonic() - started:.0f} s")


def _run_step(
    name: str, command: Sequence[str], cwd: Path, env: dict[str, str], log: Path, started: float
) -> None:
    """Runs one step at low priority with a line now and then; ToolchainError after the log's end."""
    with log.open("a") as output:
        step = subprocess.Popen(
            ("nice", *command),
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    code = step.wait(PROGRESS_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    _say(f"{name}: still at it after {time.monotonic() - started:.0f} s")
        except BaseException:
            step.kill()
            step.wait()
            raise
    if code != 0:
        for line in log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]:
            print(f"    {line}", file=sys.stderr)
        raise ToolchainError(
            f"{name}: `{' '.join(command[:3])} ...` ended with {code}; the whole log is {log}"
        )


def _say(line: str) -> None:
    print(f"toolchain: {line}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares the named parts, or all of them; 1 when one can't be had."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.toolchain", description=(__doc__ or "").splitlines()[0]
    )
    names = [recipe.name for recipe in RECIPES]
    parser.add_argument(
        "part", nargs="*", help=f"what to prepare, all that tests need by default: {', '.join(names)}"
    )
    parser.add_argument("--check", action="store_true", help="only name what this machine lacks for them")
    parsed = parser.parse_args(arguments)
    chosen = parsed.part or [recipe.name for recipe in RECIPES if not recipe.optional]
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"unknown part {', '.join(unknown)}; there are {', '.join(names)}")
    lacking = list(dict.fromkeys(filter(None, (_lacking(_recipe(name)) for name in chosen))))
    for line in lacking:
        _say(line)
    if lacking or parsed.check:
        return 1 if lacking else 0
    try:
        for name in chosen:
            print(f"{name}\t{prepare(_recipe(name))}")
    except ToolchainError as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
