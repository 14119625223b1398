"""Builds images with buildah.

Owns: its command lines, what a build gets to know of this machine: pip's configuration and roots.
Does not own: what is built (Containerfile, targets.py).
Rules: 1 pip's configuration goes in as a secret, which no layer keeps; 2 a program that is missing is named
in one line, nothing is installed.
"""

import configparser
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.images.targets import ETCD, ROOT, image_name, version_of
from tools.recipes import ToolchainError
from tools.toolchain import tool_path

BASE = "python:3.11-slim"
ERROR_LINES_SHOWN = 20

_SETTING = re.compile(r"^(?P<source>[\w:-]+)\.(?P<name>[\w-]+)='?(?P<value>.*?)'?$")
# What says where packages are. Anything else is about the machine, not about its sources.
_PIP_SETTINGS = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "timeout", "retries")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipSource:
    """What pip is told on this machine: the text of a pip.conf, and the file of its roots."""

    config: str
    roots: Path | None


class Buildah:
    """Runs buildah, on the machine's image storage or on one of its own below `storage`."""

    def __init__(self, storage: Path | None = None) -> None:
        self._options: tuple[str, ...] = ()
        if storage is not None:
            self._options = ("--root", str(storage / "root"), "--runroot", str(storage / "run"))
        # buildah does not look at the variable that its libraries have for it once a root is named.
        if driver := os.environ.get("STORAGE_DRIVER"):
            self._options += ("--storage-driver", driver)

    def run(self, *arguments: str) -> str:
        """What it printed; ToolchainError, after the end of its errors, when it fails."""
        # Its default asks for a runtime and for namespaces, which a container to build in may not have.
        environment = {"BUILDAH_ISOLATION": "chroot", **os.environ}
        done = subprocess.run(
            ("nice", "buildah", *self._options, *arguments),
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        if done.returncode != 0:
            for line in (done.stdout + done.stderr).splitlines()[-ERROR_LINES_SHOWN:]:
                print(f"    {line}", file=sys.stderr)
            raise ToolchainError(f"`buildah {arguments[0]} ...` ended with {done.returncode}")
        return done.stdout.strip()


def need(programs: Iterable[str]) -> None:
    """Raises ToolchainError that names each of the programs that is not on PATH."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if missing := [program for program in programs if shutil.which(program, path=path) is None]:
        raise ToolchainError(f"missing: {', '.join(missing)}; install them and put them on PATH")


def build(buildah: Buildah, target: str, *, base: str, build_base: str, tag: str) -> str:
    """Builds one target and returns its image's name. Raises ToolchainError."""
    image = image_name(target, tag)
    with tempfile.TemporaryDirectory(prefix="kafscale-images-") as folder:
        secrets = _write_secrets(pip_source(_pip_settings()), Path(folder))
        buildah.run(
            *build_command(
                target,
                image=image,
                arguments={
                    "BASE": base,
                    "BUILD_BASE": build_base,
                    "VERSION": version_of(ROOT),
                    "REVISION": _revision(),
                },
                secrets=secrets,
                contexts={"etcd-programs": tool_path("etcd").parent} if target == ETCD else {},
            )
        )
    return image


def build_command(
    target: str,
    *,
    image: str,
    arguments: Mapping[str, str],
    secrets: Mapping[str, Path],
    contexts: Mapping[str, Path],
) -> list[str]:
    """buildah's arguments that build one target."""
    command = ["build", "--layers", "--file", str(ROOT / "Containerfile"), "--target", target, "--tag", image]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for name, path in secrets.items():
        command += ["--secret", f"id={name},src={path}"]
    for name, path in contexts.items():
        command += ["--build-context", f"{name}={path}"]
    return [*command, str(ROOT)]


def pip_source(listing: str) -> PipSource:
    """From what `pip config list` prints; variables win over files, as they do for pip.

    Folders are left out: a build sees none of this machine's.
    """
    files: dict[str, str] = {}
    variables: dict[str, str] = {}
    for line in listing.splitlines():
        if found := _SETTING.match(line.strip()):
            into = variables if found["source"] == ":env:" else files
            into[found["name"]] = found["value"].replace("\\n", "\n")
    settings = {**files, **variables}
    config = configparser.RawConfigParser()
    config["global"] = {
        name: settings[name]
        for name in _PIP_SETTINGS
        if name in settings and not (name == "find-links" and "://" not in settings[name])
    }
    text = io.StringIO()
    config.write(text)
    return PipSource(config=text.getvalue(), roots=Path(settings["cert"]) if "cert" in settings else None)


def _write_secrets(source: PipSource, folder: Path) -> dict[str, Path]:
    """The folder is its owner's alone, as TemporaryDirectory makes it."""
    config = folder / "pip.conf"
    config.write_text(source.config)
    return {"pip-conf": config, **({"pip-roots": source.roots} if source.roots else {})}


def _pip_settings() -> str:
    command = (sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list")
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _revision() -> str:
    command = ("git", "-C", str(ROOT), "rev-parse", "HEAD")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
