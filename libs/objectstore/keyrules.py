"""What is a valid key, range and limit: the same for every adapter.

Owns: the rules that S3, MinIO and a directory can all keep. Does not own: the platform's own key names.
"""

from libs.model.errors import Invalid, NotFound, Reason
from libs.objectstore.port import LIST_LIMIT_MAX

KEY_BYTES_MAX = 1024  # Amazon S3 User Guide, "Naming Amazon S3 objects"


def check_key(key: str) -> None:
    """Raises Invalid unless `key` is 1 to 1024 UTF-8 bytes of printable path components.

    Components are divided by single slashes; none is empty, "." or ".." (MinIO refuses those).
    """
    if not key.isprintable():
        raise Invalid(f"the object key {key!r} has characters that can't be printed")
    if not 0 < len(key.encode()) <= KEY_BYTES_MAX:
        raise Invalid(f"an object key has 1 to {KEY_BYTES_MAX} bytes, not {len(key.encode())}: {key[:80]!r}")
    if not {"", ".", ".."}.isdisjoint(key.split("/")):
        raise Invalid(f"the object key {key!r} has an empty, '.' or '..' path component")


def check_range(start: int, length: int | None) -> None:
    """Raises Invalid for a range that no store can read."""
    if start < 0 or (length is not None and length < 1):
        raise Invalid(f"no such range: start {start}, length {length}")


def check_limit(limit: int) -> None:
    """Raises Invalid for a page size that S3 does not serve."""
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise Invalid(f"a list has 1 to {LIST_LIMIT_MAX} objects a page, not {limit}")


def no_such_object(key: str) -> NotFound:
    """The error of every adapter for a key without an object."""
    return NotFound(f"there is no object {key!r}", reason=Reason.NO_SUCH_OBJECT)
