"""How the directory store names files for keys: reversible, ordered, any length.

Owns: the translation. Does not own: the file system.

A key's folders become folders with the suffix `.d`, its last component a file of that very name, so that the
keys `a` and `a/b` can both exist. A component too long for a file name is cut into pieces, each but the last
a folder with the suffix `.p`. A file's name that would end in one of the suffixes has its last letter
percent-encoded, and so is `%` everywhere.
"""

from libs.model.errors import Corrupt

NAME_BYTES_MAX = 240  # of the 255 that Linux file systems allow; room for the suffix and one escape
FOLDER = b".d"
PIECE = b".p"


def path_of(key: str) -> tuple[bytes, ...]:
    """The names from the store's root down to the file of `key`."""
    *folders, last = key.encode().replace(b"%", b"%25").split(b"/")
    names: list[bytes] = []
    for folder in folders:
        *pieces, end = _cut(folder)
        names += [piece + PIECE for piece in pieces]
        names.append(end + FOLDER)
    *pieces, end = _cut(last)
    names += [piece + PIECE for piece in pieces]
    if end.endswith((FOLDER, PIECE)) or end in {b".", b".."}:
        end = end[:-1] + b"%%%02x" % end[-1]
    return (*names, end)


def component_of(encoded: bytes) -> str:
    """The path component whose pieces, without suffixes and joined, are `encoded`. Raises Corrupt."""
    first, *escapes = encoded.split(b"%")
    try:
        return (first + b"".join(_unescaped(escape) for escape in escapes)).decode()
    except ValueError as error:
        raise Corrupt(
            f"the object directory holds a name that this store did not write: {encoded!r}"
        ) from error


def _unescaped(escape: bytes) -> bytes:
    byte = bytes.fromhex(escape[:2].decode())
    if len(byte) != 1:
        raise ValueError(escape)
    return byte + escape[2:]


def _cut(component: bytes) -> list[bytes]:
    return [component[at : at + NAME_BYTES_MAX] for at in range(0, len(component), NAME_BYTES_MAX)]
