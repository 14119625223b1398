"""The blocking half of the directory store: files, folders and syncs. Runs in threads.

Owns: the order of system calls on which durability rests. Does not own: threads, listing (`walk.py`).
Rules: 1 bytes are synced before the name exists, the name's folder before success is reported, and each
folder's own name before the first file in it counts; 2 folders are never removed: a folder seen durable stays
so; 3 a sync that fails raises Fatal, whoever asked for it; 4 temporary files live in a folder of their
process, which holds a lock: a folder whose lock is free is a dead process's and is removed at the next open.

A reader may see an object whose writer has not yet synced its folder. Across a power loss that object may
vanish unless someone syncs: whoever opens the directory and finds that a process died in it syncs the whole
system first, so that everything it left is durable before it is read; and a put into the same folder (as a
seal into a chain) syncs what was read there.
"""

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from uuid import UUID

from libs.model.errors import Fatal, Invalid, Unavailable
from libs.objectstore.body import gathered, size_of
from libs.objectstore.keyrules import no_such_object
from libs.objectstore.paths import path_of
from libs.objectstore.port import Buffer, PutResult

_IOV_MAX = 1024  # Linux's UIO_MAXIOV
_SMALL_BYTES = 64 * 1024  # below it, copying costs less than one more element of writev
_FOLDERS_KNOWN_MAX = 100_000


class Disk:
    """One process's hold on a directory. All methods block; all may run in several threads at once."""

    def __init__(self, root: str, process: UUID) -> None:
        """Takes the directory `root` into use; raises Invalid when it can't be written."""
        home = os.path.abspath(os.fsencode(root))
        self._objects = home + b"/objects"
        self._temporary = home + b"/tmp/" + str(process).encode()
        self._numbers = count()
        self._known_folders: set[bytes] = set()
        self._known_lock = threading.Lock()
        try:
            os.makedirs(self._objects, exist_ok=True)
            os.makedirs(os.path.dirname(self._temporary), exist_ok=True)
            open_lock = _locked(home + b"/open.lock")
            try:
                _remove_dead(os.path.dirname(self._temporary))
                os.mkdir(self._temporary)
                self._lock = _locked(self._temporary + b"/lock")
            finally:
                os.close(open_lock)
            _sync_ancestors(self._objects)
        except OSError as error:
            raise Invalid(f"the object directory {root!r} can't be used: {error}") from error

    @property
    def objects(self) -> bytes:
        """The folder under which `paths.path_of` counts."""
        return self._objects

    def close(self) -> None:
        """Gives the directory back. No other call may be under way."""
        shutil.rmtree(self._temporary, ignore_errors=True)
        os.close(self._lock)

    def put_if_absent(self, key: str, buffers: list[Buffer]) -> PutResult:
        """Links a synced file to the key's name: the link either is made or finds the name taken."""
        with _writing(), self._written(buffers) as temporary:
            path, name = self._durable_folder(key)
            with _folder(path) as folder:
                try:
                    os.link(temporary, name, dst_dir_fd=folder)
                    result = PutResult.CREATED
                except FileExistsError:
                    result = PutResult.EXISTS
                _sync(folder, path)
            return result

    def put(self, key: str, buffers: list[Buffer]) -> None:
        """Renames a synced file to the key's name."""
        with _writing(), self._written(buffers) as temporary:
            path, name = self._durable_folder(key)
            with _folder(path) as folder:
                os.rename(temporary, name, dst_dir_fd=folder)
                _sync(folder, path)

    def get(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes [start, start + length), as far as there are any."""
        with self._opened(key) as fd:
            size_bytes = os.fstat(fd).st_size
            end = size_bytes if length is None else min(size_bytes, start + length)
            return _read(fd, start, end)

    def get_suffix(self, key: str, length: int) -> tuple[bytes, int]:
        """The last `length` bytes and the whole size."""
        with self._opened(key) as fd:
            size_bytes = os.fstat(fd).st_size
            return _read(fd, max(0, size_bytes - length), size_bytes), size_bytes

    def stat(self, key: str) -> os.stat_result:
        """Size and times of the object's file."""
        try:
            return os.stat(self._path(key))
        except FileNotFoundError:
            raise no_such_object(key) from None
        except OSError as error:
            raise Unavailable(f"the object {key!r} can't be read: {error}") from error

    def delete(self, keys: tuple[str, ...]) -> None:
        """Unlinks the files and syncs their folders."""
        folders: set[bytes] = set()
        with _writing():
            for key in keys:
                file = self._path(key)
                with suppress(FileNotFoundError):
                    os.unlink(file)
                    folders.add(os.path.dirname(file))
            for path in folders:
                with _folder(path) as folder:
                    _sync(folder, path)

    def _path(self, key: str) -> bytes:
        return b"/".join((self._objects, *path_of(key)))

    @contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise no_such_object(key) from None
        except OSError as error:
            raise Unavailable(f"the object {key!r} can't be read: {error}") from error
        try:
            yield fd
        except OSError as error:
            raise Unavailable(f"the object {key!r} can't be read: {error}") from error
        finally:
            os.close(fd)

    @contextmanager
    def _written(self, buffers: list[Buffer]) -> Iterator[bytes]:
        """A temporary file that holds `buffers`, synced; gone afterwards, unless it was renamed."""
        path = self._temporary + b"/%d" % next(self._numbers)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        try:
            try:
                _write(fd, buffers)
                _sync(fd, path)
            finally:
                os.close(fd)
            yield path
        finally:
            with suppress(OSError):  # what stays is removed when this process is dead
                os.unlink(path)

    def _durable_folder(self, key: str) -> tuple[bytes, bytes]:
        """The key's folder, made if need be, and the file's name; every folder's own name is durable."""
        *names, name = path_of(key)
        folder = b"/".join((self._objects, *names))
        if folder not in self._known_folders:
            parent = self._objects
            for folder_name in names:
                made = parent + b"/" + folder_name
                if made not in self._known_folders:
                    with suppress(FileExistsError):  # another process's: it may not have come to its sync
                        os.mkdir(made)
                    with _folder(parent) as fd:
                        _sync(fd, parent)
                    self._remember(made)
                parent = made
        return folder, name

    def _remember(self, folder: bytes) -> None:
        with self._known_lock:
            if len(self._known_folders) >= _FOLDERS_KNOWN_MAX:
                self._known_folders.clear()  # they are learned again, at one sync each
            self._known_folders.add(folder)


@contextmanager
def _writing() -> Iterator[None]:
    """Errors before the name exists leave nothing behind: the outcome is known."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the object directory can't be written: {error}") from error


def _locked(path: bytes, *, wait: bool = True) -> int:
    """A descriptor that holds the lock until it is closed, also by the death of the process."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove_dead(folder: bytes) -> None:
    """Removes the folders of dead processes, once all they wrote is durable. Call under the open lock."""
    dead: list[tuple[bytes, int]] = []
    for name in os.listdir(folder):
        with suppress(BlockingIOError, FileNotFoundError):  # alive, or just closing
            dead.append((folder + b"/" + name, _locked(folder + b"/" + name + b"/lock", wait=False)))
    if dead:
        os.sync()
    for process, lock in dead:
        shutil.rmtree(process, ignore_errors=True)
        os.close(lock)


def _sync_ancestors(path: bytes) -> None:
    """Makes the names of all folders down to `path` durable, as far as they may be opened."""
    parent = os.path.dirname(path)
    with suppress(PermissionError), _folder(parent) as fd:
        _sync(fd, parent)
    if parent != os.path.dirname(parent):
        _sync_ancestors(parent)


def _write(fd: int, buffers: list[Buffer]) -> None:
    pending = list(gathered(buffers, _SMALL_BYTES))
    at = 0
    while at < len(pending):
        written = os.writev(fd, pending[at : at + _IOV_MAX])
        while written:
            size = size_of(pending[at])
            if written < size:
                pending[at] = memoryview(pending[at]).cast("B")[written:]
                break
            written -= size
            at += 1


def _read(fd: int, start: int, end: int) -> bytes:
    data = os.pread(fd, end - start, start) if start < end else b""
    while data and start + len(data) < end:  # Linux moves at most 2 GiB a call
        more = os.pread(fd, end - start - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


@contextmanager
def _folder(path: bytes) -> Iterator[int]:
    """Opened before the name is made in it: running out of descriptors later would leave the outcome open."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _sync(fd: int, path: bytes) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise Fatal(f"the disk failed to sync {os.fsdecode(path)!r}: {error}") from error
