"""How many files and sockets this process may have open.

Owns: the soft limit, which is for select(2) and of no use here. Does not own: the hard limit, what a service
does with fewer than it wants.
"""

import resource


def raise_open_files() -> None:
    """Takes all that the hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files_max() -> int | None:
    """None where there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
