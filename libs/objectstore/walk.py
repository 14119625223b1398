"""Listing the directory store in key order, reading no more folders than the page needs.

Owns: order and pruning. Does not own: how keys are spelled as paths (`paths.py`).
Rules: 1 a folder's entries are sorted as their keys are: a folder `x` counts as `x/`, so that everything in
it stands between `x` and what follows `x/`; 2 pieces of long components are read with the folder that holds
them.
"""

import os
from collections.abc import Iterator

from libs.objectstore.paths import FOLDER, PIECE, component_of


def keys_from(objects: bytes, prefix: str, start_after: str) -> Iterator[tuple[str, bytes]]:
    """Keys that begin with `prefix`, after `start_after`, in order, each with its file's path."""
    return _below(objects, "", prefix, start_after)


def _below(folder: bytes, base: str, prefix: str, start_after: str) -> Iterator[tuple[str, bytes]]:
    for name, path in sorted(_entries(folder, b"")):
        key = base + name
        if not name.endswith("/"):
            if key.startswith(prefix) and key > start_after:
                yield key, path
        elif _may_hold(key, prefix) and (key > start_after or start_after.startswith(key)):
            yield from _below(path, key, prefix, start_after)


def _may_hold(folder_key: str, prefix: str) -> bool:
    return folder_key.startswith(prefix) or prefix.startswith(folder_key)


def _entries(folder: bytes, joined: bytes) -> Iterator[tuple[str, bytes]]:
    """Components in `folder`, those of sub-folders with a slash, and where each is."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.endswith(PIECE):
            yield from _entries(entry.path, joined + entry.name.removesuffix(PIECE))
        elif entry.name.endswith(FOLDER):
            yield component_of(joined + entry.name.removesuffix(FOLDER)) + "/", entry.path
        else:
            yield component_of(joined + entry.name), entry.path
