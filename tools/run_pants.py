"""Becomes Pants: what the script tools/pants starts.

Owns: nothing. Does not own: where Pants comes from (toolchain.py), what is checked with it (check_build.py).
"""

import os
import sys

from tools.recipes import ToolchainError
from tools.toolchain import pants_command


def main() -> None:
    """Replaces this process by Pants with the same arguments; ends with 1 when it can't be had."""
    try:
        command, environment = pants_command(*sys.argv[1:])
    except ToolchainError as error:
        sys.exit(f"tools/pants: {error}")
    os.execvpe(command[0], command, {**os.environ, **environment})  # noqa: S606 - the very purpose


if __name__ == "__main__":
    main()
