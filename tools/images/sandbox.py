"""Runs an image the way a pod runs it: its user, its environment, a root file system that is read-only, /tmp.

Owns: the image's settings, the mounts. Does not own: what is run (check.py).
Rules: 1 nothing of this machine's environment goes in; 2 the network is the machine's, so whoever runs a
service binds loopback; 3 the process is the service itself, so that a signal reaches it.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.images.buildah import Buildah

PROGRAMS = ("unshare", "mount", "setpriv", "chroot", "sh")

# Mounts go with the namespace, which goes with its last process.
_ENTER = """set -e
root=$1 data=$2 user=$3 mount=$4 setpriv=$5 chroot=$6 at=$7
shift 7
$mount --bind "$root" "$root"
$mount -o remount,bind,ro "$root"
$mount -t proc proc "$root/proc"
$mount --rbind /dev "$root/dev"
$mount -t tmpfs -o mode=1777 tmp "$root/tmp"
$mount --bind "$data" "$root$at"
exec $setpriv --no-new-privs $chroot --userspec="$user" --groups= "$root" "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says about its process."""

    user: str
    env: Mapping[str, str]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    labels: Mapping[str, str]
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image whose files are at `root`."""

    name: str
    config: ImageConfig
    root: Path


def parse_config(inspected: str) -> ImageConfig:
    """From what `buildah inspect --type image` prints."""
    config = json.loads(inspected)["OCIv1"]["config"]
    return ImageConfig(
        user=config.get("User", ""),
        env=dict(pair.split("=", 1) for pair in config.get("Env", ())),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        labels=config.get("Labels") or {},
        ports=tuple(sorted(config.get("ExposedPorts") or ())),
    )


@contextmanager
def mounted(buildah: Buildah, name: str) -> Iterator[Image]:
    """An image's files, as long as the block lasts. Raises ToolchainError."""
    container = buildah.run("from", "--pull-never", name)
    try:
        config = parse_config(buildah.run("inspect", "--type", "image", name))
        yield Image(name=name, config=config, root=Path(buildah.run("mount", container)))
    finally:
        buildah.run("rm", container)


def start(
    image: Image,
    data: Path,
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: IO[str] | int = subprocess.DEVNULL,
    output: IO[str] | int = subprocess.PIPE,
    data_path: str = "/data",
) -> subprocess.Popen[str]:
    """Starts `command` in the image, with `data` at `data_path` and `env` on top of the image's."""
    outside = {name: _path_of(name) for name in PROGRAMS}
    enter = (outside["unshare"], "--mount", outside["sh"], "-c", _ENTER, "enter", str(image.root), str(data))
    programs = (outside["mount"], outside["setpriv"], outside["chroot"])
    return subprocess.Popen(
        (*enter, image.config.user, *programs, data_path, *command),
        env={**image.config.env, **(env or {})},
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(
    image: Image,
    data: Path,
    command: Sequence[str],
    *,
    script: Path | None = None,
    data_path: str = "/data",
) -> tuple[int, str]:
    """The exit code of a command and what it printed; `script` is what it reads."""
    if script is None:
        process = start(image, data, command, data_path=data_path)
        printed, _ = process.communicate(timeout=60)
    else:
        with script.open() as text, start(image, data, command, stdin=text) as process:
            printed, _ = process.communicate(timeout=60)
    return process.returncode, printed


def _path_of(program: str) -> str:
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    assert found, f"{program} was looked for before"
    return found
