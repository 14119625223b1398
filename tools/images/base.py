"""A Debian with Python to build images on where no registry is at hand, made once into the toolchain's cache.

Owns: what is in it, twice: with venv and pip to build on, and without to run on.
Does not own: the cache (tools/toolchain.py).
Rule: mirror and release are the first that apt is configured with.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.images.buildah import Buildah, need
from tools.recipes import Recipe, Run, ToolchainError
from tools.toolchain import prepare

BASE_IMAGE = "kafscale-check-base"
BUILD_BASE_IMAGE = "kafscale-check-build-base"
PROGRAMS = ("apt-get", "debootstrap", "tar", "chroot")

_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_PURGE = "dpkg --purge $(dpkg-query -Wf '${Package} ' 'python3*-venv' 'python3-*-whl')"
_INDEX = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Where Debian's packages come from on this machine."""

    address: str
    release: str


def choose_mirror(index: str) -> Mirror:
    """The first main archive in apt's list of indexes; updates of a release are no release.

    Raises ToolchainError when there is none.
    """
    for line in index.splitlines():
        address, release, component = line.split("\t")
        if component == "main" and "-" not in release and "/" not in release:
            return Mirror(address=address, release=release)
    raise ToolchainError("apt is configured with no Debian release here: run apt-get update first")


def import_bases(buildah: Buildah) -> None:
    """Both bases as images, made first if they are not there. Raises ToolchainError."""
    folder = prepare(_recipe())
    for image, archive in ((BUILD_BASE_IMAGE, "build-base.tar"), (BASE_IMAGE, "base.tar")):
        if buildah.run("images", "--quiet", "--filter", f"reference={image}"):
            continue
        container = buildah.run("from", "scratch")
        try:
            buildah.run("add", container, str(folder / archive), "/")
            buildah.run("commit", container, image)
        finally:
            buildah.run("rm", container)


def _recipe() -> Recipe:
    """Outside of what `make tools` makes: it needs root."""
    index = ("apt-get", "indextargets", "--format", _INDEX, "Created-By: Packages")
    mirror = choose_mirror(subprocess.run(index, capture_output=True, text=True, check=False).stdout)

    def make(run: Run, folder: Path) -> None:
        root = folder / "root"
        include = f"--include={','.join(_PACKAGES)}"
        run("debootstrap", "--variant=minbase", include, mirror.release, "root", mirror.address, cwd=folder)
        for left_over in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / left_over)
            (root / left_over / "partial").mkdir(parents=True)
        archive = ("tar", "--directory=root", "--exclude=./dev/*", "--create")
        run(*archive, "--file=build-base.tar", ".", cwd=folder)
        run("chroot", "root", "sh", "-c", _PURGE, cwd=folder)
        run(*archive, "--file=base.tar", ".", cwd=folder)
        shutil.rmtree(root)

    return Recipe(
        name="image-base",
        version=mirror.release,
        about="a Debian with Python for images, about 2 minutes the first time",
        programs=(),
        needs=lambda: need(PROGRAMS),
        build=make,
        inputs=(Path(__file__),),
    )
