"""The data directory: made, locked for one process, refused with a reason.

Rules: 1 the lock proves that the predecessor is dead, so that a restart waits for no lease; 2 the kernel
drops the lock when the process ends, however it ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libs.model.errors import Invalid, Reason

LOCK_FILE = "LOCK"


@contextmanager
def locked(directory: Path) -> Iterator[Path]:
    """The directory, held until the block ends. Raises Invalid(INVALID_CONFIG) where it can't be had."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        text = f"cannot use {directory}: {error.strerror}; choose another KAFSCALE_DATA_DIR"
        raise Invalid(text, reason=Reason.INVALID_CONFIG) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            text = f"another process uses {directory}: stop it, or choose another KAFSCALE_DATA_DIR"
            raise Invalid(text, reason=Reason.INVALID_CONFIG) from error
        yield directory
    finally:
        os.close(descriptor)
