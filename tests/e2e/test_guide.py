"""docs/guide.md as a reader follows it: every block of commands, in its order, on a cluster of its own.

What only a kubelet could do, kubectl port-forward, is done for it: see `PORT_FORWARD`.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.world import ROOT, S3_ENDPOINT, World
from tests.support.java import TOOLS
from tools.toolchain import kafka_command, tool_path

GUIDE = (ROOT / "docs" / "guide.md").read_text()
BLOCK_SECONDS_MAX = 400
BUCKET = "guide"

PORT_FORWARD = """#!/bin/sh
# As the real one, but for port-forward, which asks a kubelet to join two streams: pods are in reach here.
if [ "$1" != port-forward ]; then exec {kubectl} "$@"; fi
case "$2" in
  pod/*) path='{{.status.podIP}}'; what=$2 ;;
  service/*) path='{{.subsets[0].addresses[0].ip}}'; what=endpoints/${{2#service/}} ;;
esac
exec {python} -m tests.e2e.forward "$3" "$({kubectl} get "$what" --output "jsonpath=$path"):$3"
"""

pytestmark = pytest.mark.timeout(1500)


def blocks() -> list[str]:
    """What the reader is to run; a block marked `reader` is for the reader to fill in."""
    found = re.findall(r"^```bash( reader)?\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return [text for reader, text in found if not reader]


@pytest.fixture(scope="module")
def programs(world: World) -> Path:
    """The reader's programs, first on PATH."""
    folder = world.folder / "bin"
    folder.mkdir()
    (folder / "kubectl").write_text(PORT_FORWARD.format(kubectl=tool_path("kubectl"), python=sys.executable))
    for name in ("helm", "grpcurl"):
        (folder / name).symlink_to(tool_path(name))
    for name, main_class in TOOLS.items():
        command = shlex.join(kafka_command(main_class))
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    for path in folder.iterdir():
        if not path.is_symlink():
            path.chmod(0o755)
    world.minio.create_bucket(BUCKET)
    return folder


def test_every_command_of_the_guide(world: World, programs: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KAFSCALE_")},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "KUBECONFIG": str(world.plane.kubeconfig),
        "S3_BUCKET": BUCKET,
        "S3_REGION": world.minio.region,
        "S3_ENDPOINT": S3_ENDPOINT,
        "S3_ACCESS_KEY": world.minio.access_key,
        "S3_SECRET_KEY": world.minio.secret_key,
        "VERSION": "next",
    }
    world.helm("uninstall", "kafscale", "--namespace", "kafscale-system", "--ignore-not-found", "--wait")
    for block in blocks():
        done = subprocess.run(
            ("bash", "-euo", "pipefail", "-c", block),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=BLOCK_SECONDS_MAX,
        )
        told = f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert done.returncode == 0, f"ended with {done.returncode}:\n{told}\n{world.logs('default')}"
