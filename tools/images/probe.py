"""Looks at an image from inside: read by the image's own Python, as the image's own user, and told as JSON.

Owns: what is seen. Does not own: what is right (look.py). Rule: the standard library alone.
"""

import importlib.util
import json
import os
import shutil
import sys

MODULES = ("pip", "ensurepip", "setuptools", "wheel", "pkg_resources", "grpc_tools", "grpc")
PROGRAMS = ("pip", "pip3", "gcc", "cc", "g++", "c++", "make", "ld", "as", "protoc", "uv")
# The paths are the image's.
ROOTS = ("/", "/usr", "/etc", "/opt/kafscale/services", "/var/tmp", "/tmp", "/data")  # noqa: S108


def _writable(folder: str) -> bool:
    path = os.path.join(folder, ".probe")
    try:
        with open(path, "w"):
            pass
    except OSError:
        return False
    os.remove(path)
    return True


def _effective_capabilities() -> str:
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith("CapEff:"))


if __name__ == "__main__":
    seen = {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": sorted(set(os.getgroups()) - {os.getgid()}),
        "capabilities": int(_effective_capabilities(), 16),
        "read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        "writable": [folder for folder in ROOTS if _writable(folder)],
        "modules": [name for name in MODULES if importlib.util.find_spec(name)],
        "programs": [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")],
        "python": sys.version.split()[0],
    }
    print(json.dumps(seen))
