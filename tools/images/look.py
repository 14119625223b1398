"""What must be true of every image.

Owns: the rules about files, user, programs, labels and size. Does not own: running a service (serve.py).
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.images.sandbox import Image, run

PROBE = Path(__file__).parent / "probe.py"
USER = 10001
APP = "opt/kafscale"
WRITABLE = ("/tmp", "/data")  # noqa: S108 - the image's, a file system of its own
MB = 1_000_000
ABOVE_BASE_BYTES_MAX = 60 * MB
OPERATOR_BYTES_MAX = 15 * MB
"""What the operator's Kubernetes client may add, where it is."""
PORTS = ("9092/tcp", "9093/tcp", "9094/tcp")
LABELS = ("title", "description", "version", "revision")


def size_bytes(root: Path) -> int:
    """The bytes of all files below a folder, each counted once however many names it has."""
    seen: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def wrong_in_config(image: Image) -> list[str]:
    """What is wrong in what the image says about itself."""
    config = image.config
    wrong = []
    if config.user != f"{USER}:{USER}":
        wrong.append(f"its user is {config.user or 'root'}, not {USER}:{USER}")
    if config.ports != PORTS:
        wrong.append(f"it exposes {config.ports}, not {PORTS}")
    wrong += [
        f"it has no label org.opencontainers.image.{label}"
        for label in LABELS
        if not config.labels.get(f"org.opencontainers.image.{label}")
    ]
    return wrong


def wrong_inside(seen: Mapping[str, Any]) -> list[str]:
    """What is wrong in what the probe saw."""
    wrong = []
    if (seen["uid"], seen["gid"], seen["groups"]) != (USER, USER, []):
        wrong.append(f"it runs as {seen['uid']}:{seen['gid']} with groups {seen['groups']}")
    if seen["capabilities"] != 0:
        wrong.append(f"it has capabilities {seen['capabilities']:x}")
    if not seen["read_only"]:
        wrong.append("its root file system is not read-only")
    if seen["writable"] != list(WRITABLE):
        wrong.append(f"it can write to {seen['writable']}, not to /tmp and /data alone")
    if seen["modules"]:
        wrong.append(f"it can import {', '.join(seen['modules'])}")
    if seen["programs"]:
        wrong.append(f"it has {', '.join(seen['programs'])}")
    return wrong


def wrong_on_disk(root: Path) -> list[str]:
    """What is wrong about the files: who may change them, what is missing or too much beside them."""
    wrong = []
    for path in (root / APP).rglob("*"):
        status = path.lstat()
        name = path.relative_to(root)
        if path.is_symlink():
            continue
        if status.st_uid != 0 or status.st_mode & 0o022:
            wrong.append(f"/{name} may be changed by others than root")
        if path.name in ("pip", "grpc_tools", "setuptools", "BUILD"):
            wrong.append(f"/{name} has no place in an image")
        module = path.suffix == ".py" and "bin" not in name.parts
        if module and not any((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")):
            wrong.append(f"/{name} has no bytecode")
    return wrong


def look(image: Image, data: Path) -> tuple[list[str], str]:
    """What is wrong with an image, and its Python's version."""
    code, printed = run(image, data, ("python", "-"), script=PROBE)
    if code != 0:
        return [f"its Python does not run: {printed.strip()[-200:]}"], ""
    seen = json.loads(printed)
    return [*wrong_in_config(image), *wrong_inside(seen), *wrong_on_disk(image.root)], seen["python"]
