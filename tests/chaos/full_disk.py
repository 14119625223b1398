"""A disk that is full for a process, and has room again.

Owns: the two ways to have one. Does not own: the process.
Rules: 1 a small tmpfs of its own where this machine lets us mount one: writes fail with ENOSPC, as on a full
disk; 2 else the process's limit of file sizes (prlimit, RLIMIT_FSIZE) is taken to nothing: writes fail with
EFBIG, which is as near as one comes without a mount.
"""

import resource
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DISK_BYTES = 96 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024


class FullDisk(ABC):
    """`directory` is on it; `fill` and `make_room` as often as one likes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @abstractmethod
    def fill(self, pid: int) -> None:
        """From now on no write of the process `pid` succeeds that needs room."""

    @abstractmethod
    def make_room(self, pid: int | None) -> None:
        """All writes succeed again; `pid` is None where the process has ended."""


class _SmallDisk(FullDisk):
    def fill(self, pid: int) -> None:
        with self._ballast.open("ab", buffering=0) as ballast:
            size = _CHUNK_BYTES
            while size:
                try:
                    written = ballast.write(bytes(size))
                except OSError:
                    written = 0
                if written < size:
                    size //= 2  # to the last byte

    def make_room(self, pid: int | None) -> None:
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.directory / "ballast"


class _SizeLimit(FullDisk):
    def fill(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def make_room(self, pid: int | None) -> None:
        if pid is not None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def full_disk(directory: Path, *, may_mount: bool = True) -> Iterator[FullDisk]:
    """With room at first."""
    directory.mkdir()
    if not (may_mount and _mounted(directory)):
        yield _SizeLimit(directory)
        return
    try:
        yield _SmallDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _mounted(directory: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(directory)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
