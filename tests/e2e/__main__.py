"""`python -m tests.e2e`: the tests of this folder in a network of their own, on images built for them.

Owns: what is needed, building, the namespaces that everything runs in. Does not own: the tests.
Rules: 1 nothing is heard or left outside: network, mounts and processes are in namespaces that end with it;
2 what is missing is named in one line.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.network import make_bridge
from tests.e2e.node.names import resolv_conf
from tests.e2e.setup import SETUP_VARIABLE, Setup
from tools.images.base import BASE_IMAGE, BUILD_BASE_IMAGE, PROGRAMS, import_bases
from tools.images.buildah import Buildah, build, need
from tools.images.sandbox import Image, mounted
from tools.images.targets import ALL, ETCD
from tools.recipes import ToolchainError
from tools.toolchain import cache_dir, prometheus_crds, tool_path

_ROOT = Path(__file__).resolve().parents[2]
_TAG = "e2e"
_TARGETS = (ALL, ETCD, "gateway", "partition-owner", "metadata", "operator")
_PROGRAMS = ("buildah", *PROGRAMS, "ip", "unshare", "nsenter", "setpriv", "mount", "hostname")
_TOOLS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "helm",
    "etcd",
    "etcdctl",
    "minio",
)
_INSIDE = "--inside"


def main(arguments: Sequence[str]) -> int:
    """The exit code of pytest; 1 after one line where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--where-possible", action="store_true", help="no failure where something is missing")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args(arguments)
    try:
        if os.geteuid() != 0:
            raise ToolchainError(
                "needs root, for networks and mounts of its own: run it in a machine of its own"
            )
        need(_PROGRAMS)
    except ToolchainError as error:
        _say(f"{'left out: ' if options.where_possible else ''}{error}")
        return 0 if options.where_possible else 1
    try:
        return _prepare_and_run(options.pytest)
    except ToolchainError as error:
        _say(str(error))
        return 1


def _prepare_and_run(pytest_arguments: Sequence[str]) -> int:
    for tool in _TOOLS:
        tool_path(tool)
    prometheus_crds()
    buildah = Buildah(cache_dir() / "images")
    import_bases(buildah)
    _say("building the images")
    names = [
        build(buildah, target, base=BASE_IMAGE, build_base=BUILD_BASE_IMAGE, tag=_TAG) for target in _TARGETS
    ]
    with ExitStack() as stack:
        images = [stack.enter_context(mounted(buildah, name)) for name in names]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kafscale-e2e-")))
        folder.chmod(0o755)
        setup = Setup(folder=str(folder), images=dict(map(_as_the_agent_has_it, images)))
        path = folder / "setup.json"
        path.write_text(setup.dumps())
        namespaces = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        inside = (sys.executable, "-m", "tests.e2e", _INSIDE, str(path), *pytest_arguments)
        return subprocess.run((*namespaces, *inside), cwd=_ROOT, check=False).returncode


def _as_the_agent_has_it(image: Image) -> tuple[str, dict[str, object]]:
    """Its name without a tag, and what the node agent runs for it."""
    config = image.config
    about: dict[str, object] = {
        "root": str(image.root),
        "env": dict(config.env),
        "user": config.user,
        "entrypoint": config.entrypoint,
        "command": config.command,
    }
    return image.name.partition(":")[0], about


def _inside(setup_path: Path, pytest_arguments: Sequence[str]) -> int:
    """As the first process of its namespace: what it leaves behind is ended with it."""
    make_bridge()
    resolver = setup_path.with_name("resolv.conf")
    resolver.write_text(resolv_conf("default"))
    subprocess.run(("mount", "--bind", str(resolver), "/etc/resolv.conf"), check=True)
    command = (sys.executable, "-m", "pytest", "tests/e2e", *pytest_arguments)
    tests = subprocess.Popen(command, env={**os.environ, SETUP_VARIABLE: str(setup_path)})
    while True:
        pid, status = os.wait()  # orphans are its children as well
        if pid == tests.pid:
            return os.waitstatus_to_exitcode(status)


def _say(line: str) -> None:
    sys.stderr.write(f"e2e: {line}\n")


if __name__ == "__main__":
    if sys.argv[1:2] == [_INSIDE]:
        sys.exit(_inside(Path(sys.argv[2]), sys.argv[3:]))
    sys.exit(main(sys.argv[1:]))
