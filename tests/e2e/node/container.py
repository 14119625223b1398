"""One container as a local process: an image's files, a mount namespace, the pod's network, its user.

Owns: mounts, starting, signals. Does not own: when (pods.py), what it sees (environment.py, volumes.py).
Rules: 1 nothing of this machine's environment goes in; 2 the process that gets the signal is the container's
own, as PID 1 of a pod is; 3 it and all that it started end together.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import trio

from tests.e2e.api import Object

_WAITERS = trio.CapacityLimiter(1000)
"""A thread each, which does nothing but wait."""


class Mount(NamedTuple):
    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An unpacked image."""

    root: Path
    env: Mapping[str, str]
    entrypoint: Sequence[str]
    command: Sequence[str]
    user: str


class Process:
    """A container's process. `log` collects what it prints, over all of its lives."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """Its exit code, 128 + N for signal N as container runtimes have it."""
        code = await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True, limiter=_WAITERS)
        return code if code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """It and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def start(
    pod: Object,
    container: Object,
    image: Image,
    *,
    enter_network: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    mounts: Sequence[Mount],
    log: Path,
) -> Process:
    """Starts the container's command in the image."""
    security = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
    user = (
        f"{security['runAsUser']}:{security.get('runAsGroup', 0)}" if "runAsUser" in security else image.user
    )
    command = [*(container.get("command") or image.entrypoint)]
    command += container.get("args") or (() if container.get("command") else image.command)
    above = folder / f"above-{container['name']}"
    above.mkdir(parents=True, exist_ok=True)
    script = _script(read_only=bool(security.get("readOnlyRootFilesystem")), groups=security.get("fsGroup"))
    flat = [
        str(part) for each in mounts for part in (each.source, each.target, "ro" if each.read_only else "rw")
    ]
    paths = {name: _path_of(name) for name in ("setpriv", "chroot")}
    entered = [*enter_network, "unshare", "--mount", "--uts", "sh", "-c", script, "enter"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *entered,
                *(
                    str(image.root),
                    str(above),
                    pod["metadata"]["name"],
                    user,
                    paths["setpriv"],
                    paths["chroot"],
                ),
                *(*flat, "--", *command),
            ],
            env={"PATH": os.environ["PATH"], **image.env, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Process(process)


def _script(*, read_only: bool, groups: int | None) -> str:
    """Of the shell that becomes the container: mounts first, then rights are given up.

    The image stays as it is: mount points that it lacks are made in a layer above it. Mounts go with the
    namespace, which goes with its last process.
    """
    remount = 'mount -o remount,ro "$root"' if read_only else ":"
    return f"""set -e
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
root=$1 above=$2 host=$3 user=$4 setpriv=$5 chroot=$6
shift 6
hostname "$host"
mount -t tmpfs above "$above"
mkdir "$above/upper" "$above/work" "$above/merged"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$above/upper,workdir=$above/work" "$above/merged"
root=$above/merged
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
  target=$root$("$chroot" "$root" readlink -m "$2")  # a link in the image leads into the image
  if [ -d "$1" ]; then mkdir -p "$target"; else mkdir -p "$(dirname "$target")"; touch "$target"; fi
  mount --bind "$1" "$target"
  if [ "$3" = ro ]; then mount -o remount,bind,ro "$target"; fi
  shift 3
done
shift
{remount}
set -- --userspec="$user" --groups={groups or '""'} "$root" /usr/bin/env "$@"
exec "$setpriv" --no-new-privs "$chroot" "$@"
"""


def _path_of(program: str) -> str:
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert found, f"{program} was looked for before"
    return found
