"""Wall clocks of single processes, to be moved while they run.

Owns: building the preloaded library (clock_jump.c), a file for each process. Does not own: when they jump.
Rule: 1 only programs that ask the C library can be moved: our services, not etcd and MinIO, which are Go.
"""

import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock_jump.c")
_NANOSECONDS = struct.Struct("q")


def find_compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class Clocks:
    """`environment` makes a process's clock movable; `jump` moves it."""

    def __init__(self, directory: Path) -> None:
        """Raises FileNotFoundError where there is no C compiler, CalledProcessError where it fails."""
        compiler = find_compiler()
        if compiler is None:
            raise FileNotFoundError("no C compiler (cc): clocks can't be moved")
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._library = directory / "clock_jump.so"
        command = [
            compiler,
            "-shared",
            "-fPIC",
            "-O1",
            "-Wall",
            "-Werror",
            "-o",
            str(self._library),
            str(_SOURCE),
        ]
        subprocess.run(command, check=True)

    def environment(self, name: str) -> dict[str, str]:
        """For the start of the process `name`, whose clock is right at first."""
        self.jump(name, 0.0)
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK_FILE": str(self._file(name))}

    def jump(self, name: str, seconds: float) -> None:
        """From now on its clock is so far ahead of the machine's (behind: below 0)."""
        packed = _NANOSECONDS.pack(int(seconds * 1e9))
        if not self._file(name).exists():
            self._file(name).write_bytes(packed)
            return
        with self._file(name).open("r+b") as file:  # the mapped one, so not replaced
            file.write(packed)

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.clock"
