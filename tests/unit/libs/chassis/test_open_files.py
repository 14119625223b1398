"""The soft limit follows the hard one; in a process of its own, since a hard limit can't be raised again."""

import subprocess
import sys

SCRIPT = """
import resource
from libs.chassis.open_files import open_files_max, raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
print(open_files_max())
raise_open_files()
print(open_files_max())
"""


def test_all_that_is_allowed_is_taken() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["64", "512"]
