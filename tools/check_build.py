"""Checks the BUILD files with Pants: all files are owned, every import has an owner, and the rules hold.

Owns: which goals are run, and the proof that the rules refuse. Does not own: the rules (BUILD files), Pants.
Rules: 1 without a Python 3.9 this is skipped and says so: tidy.py checks the same layers everywhere; 2 a rule
that refuses nothing protects nothing, so each run also plants forbidden imports in a copy, and all must be
refused.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.recipes import ToolchainError, need_python39
from tools.toolchain import pants_command

ROOT = Path(__file__).parent.parent
GOALS = ("tailor", "--check", "list", "dependencies", "::")
AT_ONCE = 2
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A forbidden import: a module to write, its text, and what it must not reach."""

    module: str
    text: str
    target: str


PLANTS = (
    Plant(
        module="libs/model/planted.py",
        text="from libs.objectstore import port\n",
        target="libs/objectstore/port.py:../libs",
    ),
    Plant(
        module="services/gateway/planted.py",
        text="from services.metadata import planted\n",
        target="services/metadata/planted.py:../services",
    ),
    Plant(
        module="services/partition_owner/planted.py",
        text="import boto3\n",
        target="//:requirements#boto3",
    ),
)
# What the planted modules import must exist.
PLANTED_TARGETS = ("libs/objectstore/port.py", "services/metadata/planted.py")


def run_pants(tree: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Runs Pants on a tree and returns what it printed."""
    command, environment = pants_command("--level=error", *args)
    return subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def check_tree(tree: Path) -> str | None:
    """What Pants has against a tree, or None."""
    done = run_pants(tree, *GOALS)
    if done.returncode == 0:
        return None
    # Standard output also lists targets; what tailor would do is told there, indented or with a capital.
    told = [line for line in done.stdout.splitlines() if line.startswith(("Would ", "  - ", "To fix"))]
    return "\n".join((*told, done.stderr))


def check_plant(plant: Plant) -> str | None:
    """None when the rules refuse the planted import; else what happened."""
    with tempfile.TemporaryDirectory(prefix="kafscale-plant-") as folder:
        tree = Path(folder)
        for name in ("pants.toml", "pyproject.toml", "BUILD", *_build_files()):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        for name in PLANTED_TARGETS:
            _write(tree / name, '"""Something to import."""\n')
        _write(tree / plant.module, plant.text)
        done = run_pants(tree, "dependencies", plant.module)
    denied = done.returncode != 0 and "DependencyRuleActionDeniedError" in done.stderr
    if denied and any(
        plant.module in line and line.endswith(plant.target) for line in done.stderr.splitlines()
    ):
        return None
    return f"the rules did not refuse `{plant.text.strip()}` in {plant.module}:\n{done.stdout}{done.stderr}"


def main() -> int:
    """Checks this tree and the plants; 1 when something is wrong."""
    try:
        need_python39()
        pants_command()
    except ToolchainError as error:
        print(f"check-build: skipped, {error} (tools/tidy.py checks the same layers)")
        return 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        checks = [pool.submit(check_tree, ROOT), *(pool.submit(check_plant, plant) for plant in PLANTS)]
        wrong = [told for check in checks if (told := check.result()) is not None]
    for told in wrong:
        print(f"check-build: {told}", file=sys.stderr)
    if not wrong:
        print(f"check-build: all BUILD rules kept; {len(PLANTS)} planted imports refused")
    return 1 if wrong else 0


def _build_files() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in ROOT.glob("*/BUILD")]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
