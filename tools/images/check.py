"""Builds every image on a base made here, looks into each and runs the platform from them.

Owns: the order, what is told. Does not own: the rules (look.py), the platform's run (serve.py).
Rules: 1 images and layers are in a storage of their own in the toolchain's cache, so that a second check
takes what has not changed; 2 what is left out is told.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tools.images.base import BASE_IMAGE, BUILD_BASE_IMAGE, import_bases
from tools.images.base import PROGRAMS as BASE_PROGRAMS
from tools.images.buildah import Buildah, build, need
from tools.images.look import ABOVE_BASE_BYTES_MAX, MB, OPERATOR_BYTES_MAX, USER, look, size_bytes
from tools.images.sandbox import PROGRAMS as SANDBOX_PROGRAMS
from tools.images.sandbox import Image, mounted, run
from tools.images.serve import RECORDS, serve
from tools.images.targets import ALL, ETCD, ROOT, SERVICES, TARGETS, image_name, missing_services
from tools.recipes import ETCD_VERSION, ToolchainError
from tools.toolchain import cache_dir

TAG = "check"


def check() -> None:
    """Raises ToolchainError with all that is wrong."""
    need(("buildah", *BASE_PROGRAMS, *SANDBOX_PROGRAMS))
    if os.geteuid() != 0:
        raise ToolchainError("needs root, for debootstrap and for mounts: run it in a machine of its own")
    buildah = Buildah(cache_dir() / "images")
    import_bases(buildah)
    missing = missing_services(ROOT)
    for target in missing:
        _say(f"{target}: left out, its service is not in this tree")
    with mounted(buildah, BASE_IMAGE) as base:
        base_bytes = size_bytes(base.root)
    _say(f"base: {base_bytes / MB:.0f} MB")
    with tempfile.TemporaryDirectory(prefix="kafscale-images-") as folder:
        data = Path(folder)
        data.chmod(0o755)
        os.chown(data, USER, USER)
        for target in TARGETS:
            if target not in missing:
                image = build(buildah, target, base=BASE_IMAGE, build_base=BUILD_BASE_IMAGE, tag=TAG)
                with mounted(buildah, image) as opened:
                    if target == ETCD:
                        _check_etcd(opened, data, base_bytes=base_bytes)
                    else:
                        _check_image(target, opened, data, base_bytes=base_bytes, missing=missing)
        # The first image writes, the second one finds it: nothing is kept in an image.
        for runs_before, target in enumerate(("standalone", ALL)):
            with mounted(buildah, image_name(target, TAG)) as opened:
                command = _command_of(target, opened, "standalone")
                _say(f"{target}: {serve(opened, data, command, stored=runs_before * RECORDS)}")
    _say("all as it has to be")


def _check_image(target: str, image: Image, data: Path, *, base_bytes: int, missing: Iterable[str]) -> None:
    above_bytes = size_bytes(image.root) - base_bytes
    wrong, python = look(image, data)
    if above_bytes > ABOVE_BASE_BYTES_MAX + (OPERATOR_BYTES_MAX if target in (ALL, "operator") else 0):
        wrong.append(f"it is {above_bytes / MB:.0f} MB above its base")
    services = [one for one in SERVICES if one not in missing] if target == ALL else [target]
    for service in services:
        code, printed = run(image, data, (*_command_of(target, image, service), "--help"))
        if code != 0 or not printed.startswith(f"usage: {service}"):
            wrong.append(f"{service} --help ended with {code}: {printed.strip()[-200:]}")
    if wrong:
        raise ToolchainError(f"{target}: " + "; ".join(wrong))
    _say(
        f"{target}: {above_bytes / MB:.0f} MB above the base, Python {python}, no build tools, user {USER}, "
        f"only /tmp and /data writable, --help of {', '.join(services)}"
    )


def _check_etcd(image: Image, data: Path, *, base_bytes: int) -> None:
    wrong = []
    for program in ("etcd", "etcdctl"):
        command = (program, "version" if program == "etcdctl" else "--version")
        code, printed = run(image, data, command, data_path="/var/lib/etcd")
        if code != 0 or ETCD_VERSION not in printed:
            wrong.append(f"{program} ended with {code} and is not {ETCD_VERSION}: {printed.strip()[-200:]}")
    if image.config.user != f"{USER}:{USER}":
        wrong.append(f"its user is {image.config.user or 'root'}, not {USER}:{USER}")
    if wrong:
        raise ToolchainError(f"{ETCD}: " + "; ".join(wrong))
    above_bytes = size_bytes(image.root) - base_bytes
    _say(f"{ETCD}: {above_bytes / MB:.0f} MB above the base, {ETCD_VERSION}, user {USER}")


def _command_of(target: str, image: Image, service: str) -> tuple[str, ...]:
    """The image's own command, or for the image of all services the one that the charts give it."""
    return ("python", "-m", SERVICES[service]) if target == ALL else image.config.entrypoint


def _say(line: str) -> None:
    print(f"images-check: {line}", flush=True)
