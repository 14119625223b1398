"""`python -m tools.images build` builds the images, `check` builds them, looks into them and runs them.

Owns: the command line. Does not own: buildah's part (buildah.py), what is checked (check.py).
"""

import argparse
import sys
from collections.abc import Sequence

from tools.images.buildah import BASE, Buildah, build, need
from tools.images.targets import ROOT, TARGETS, missing_services, version_of
from tools.recipes import ToolchainError


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was built or all was as it has to be; else 1 after one line that says what is wrong."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.command == "check":
            from tools.images.check import check  # noqa: PLC0415 - a build has no clients installed

            check()
        else:
            _build(
                parsed.target or TARGETS,
                base=parsed.base,
                build_base=parsed.build_base or parsed.base,
                tag=parsed.tag,
            )
    except ToolchainError as error:
        _say(str(error))
        return 1
    return 0


def _build(targets: Sequence[str], *, base: str, build_base: str, tag: str) -> None:
    if unknown := sorted(set(targets) - set(TARGETS)):
        raise ToolchainError(f"unknown target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    need(("buildah",))
    buildah, missing = Buildah(), missing_services(ROOT)
    failed: list[str] = []
    for target in targets:
        if target in missing:
            _say(f"{target}: left out, its service is not in this tree")
            continue
        try:
            _say(f"{target}: {build(buildah, target, base=base, build_base=build_base, tag=tag)}")
        except ToolchainError as error:
            failed.append(f"{target}: {error}")
    if failed:
        raise ToolchainError("; ".join(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.images", description="Builds and checks the container images."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build_ = commands.add_parser("build", help="build the images by buildah into its storage")
    build_.add_argument("target", nargs="*", help=f"what to build, by default all: {', '.join(TARGETS)}")
    build_.add_argument("--base", default=BASE, help=f"image with Python 3.11 or newer; default {BASE}")
    build_.add_argument("--build-base", help="the same with venv and pip, to build on; default the base")
    build_.add_argument("--tag", default=version_of(ROOT), help="default the project's version")
    commands.add_parser("check", help="build them on a Debian base made here and run them; needs root")
    return parser


def _say(line: str) -> None:
    print(f"images: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
