"""The store of a single process: one SQLite file in the data directory.

Owns: the file, its lock, making changes durable before they are seen. Does not own: the semantics (state.py).
Rules:
1 a change is written and synced first, then applied to the state in memory, from which everything is read;
2 one writer: the directory is locked while the store is open, and changes happen one after another;
3 leases live in memory: on opening, the keys of the last process's leases go, as one revision;
4 a write that failed and was rolled back wrote nothing, and the next one may succeed: a disk that is full, a
  quota, a limit of file sizes; after any other error of the disk, a failed sync before all, nothing is known,
  and the store refuses everything until it is opened again.
Durability: WAL journal with synchronous=FULL syncs at every commit (https://sqlite.org/pragma.html#pragma_synchronous).
"""

import fcntl
import os
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

import trio

from libs.concurrency.threads import Threads
from libs.model.errors import Corrupt, Invalid, NotFound, Reason, Unavailable
from libs.model.ids import Revision
from services.metadata.kv.port import (
    Delete,
    Deleted,
    KeyValue,
    LeaseId,
    ModRevisionIs,
    Put,
    RangeResult,
    TxnResult,
    WatchBatch,
)
from services.metadata.kv.state import HISTORY_REVISIONS_MAX, KeyState, check_txn, matching

FILE = "metadata.sqlite3"
LOCK_FILE = "metadata.lock"
PROGRESS_SECONDS = 5.0
_POOL = "sqlite"
_FORMAT_VERSION = 1
_APPLICATION_ID = 0x4B414653  # KAFS
_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
"""Before anything was committed. To SQLite only ENOSPC of a write is FULL; EDQUOT and EFBIG are IOERR_WRITE,
and the memory that it shares with readers, a file too, has an error of its own."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    key TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    mod_revision INTEGER NOT NULL,
    leased INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS store (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO store VALUES (1, 1);
"""


class _NoRoom(Exception):
    """A write failed, and nothing of it is in the file."""


class _File:
    """The blocking half: used by one thread at a time."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE
        self._lock = _locked(data_dir)
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            os.close(self._lock)
            if isinstance(error, sqlite3.OperationalError):
                raise _unwritable(data_dir, error) from error
            raise Corrupt(f"{self._path} is no metadata store: {error}") from error
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            (application_id,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > _FORMAT_VERSION or application_id not in (0, _APPLICATION_ID):
                raise Invalid(
                    f"{self._path} has format {version} of application {application_id:#x}: "
                    f"this program knows format {_FORMAT_VERSION} of {_APPLICATION_ID:#x}"
                )
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_FORMAT_VERSION}")
            _sync_directory(self._path.parent)
        except BaseException:
            db.close()
            raise
        return db

    def load(self) -> tuple[Revision, list[KeyValue]]:
        """The revision and the keys that outlive a process; the others are deleted."""
        self._db.execute("BEGIN IMMEDIATE")
        dropped = self._db.execute("DELETE FROM keys WHERE leased = 1").rowcount
        if dropped:
            self._db.execute("UPDATE store SET revision = revision + 1")
        self._db.execute("COMMIT")
        rows = self._db.execute("SELECT key, value, create_revision, mod_revision FROM keys")
        items = [
            KeyValue(key=key, value=value, create_revision=Revision(created), mod_revision=Revision(changed))
            for key, value, created, changed in rows
        ]
        return self._revision(), items

    def write(self, events: Sequence[KeyValue | Deleted], revision: Revision) -> None:
        """Returns once it is on the disk. Raises _NoRoom where nothing was written, else sqlite3.Error."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for event in events:
                if isinstance(event, Deleted):
                    self._db.execute("DELETE FROM keys WHERE key = ?", (event.key,))
                else:
                    row = (event.key, event.value, event.create_revision, event.mod_revision)
                    leased = event.lease_id is not None
                    self._db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?)", (*row, leased))
            self._db.execute("UPDATE store SET revision = ?", (revision,))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", None) in _NO_ROOM and self._revision() < revision:
                raise _NoRoom(error.sqlite_errorname) from error
            raise

    def _revision(self) -> Revision:
        (revision,) = self._db.execute("SELECT revision FROM store").fetchone()
        return Revision(revision)

    def close(self) -> None:
        try:
            self._db.close()
        finally:
            os.close(self._lock)


class SqliteKV:
    """A KV in one file; made by `open_sqlite_kv`."""

    def __init__(self, file: _File, threads: Threads, state: KeyState) -> None:
        self._file = file
        self._threads = threads
        self._state = state
        self._writing = trio.Lock()
        self._ttl_seconds: dict[LeaseId, float] = {}
        self._ends_at: dict[LeaseId, float] = {}
        # Leases of different processes must not have the same id: a client may still renew its last one.
        self._next_lease = int(state.revision) << 20
        self._changed = trio.Event()
        self._leases_changed = trio.Event()
        self._broken = ""

    async def get(self, key: str) -> KeyValue | None:
        await trio.lowlevel.checkpoint()
        self._check()
        return self._state.get(key)

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 1000, revision: Revision | None = None
    ) -> RangeResult:
        await trio.lowlevel.checkpoint()
        self._check()
        return self._state.range(prefix, start_after=start_after, limit=limit, revision=revision)

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        check_txn(compares, ops)
        async with self._writing:
            self._check()
            if not self._state.holds(compares):
                return TxnResult(succeeded=False, revision=self._state.revision)
            for op in ops:
                if isinstance(op, Put) and op.lease_id is not None:
                    self._check_lease(op.lease_id)
            await self._write(ops)
            return TxnResult(succeeded=True, revision=self._state.revision)

    def watch(
        self, prefix: str, *, after_revision: Revision
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchBatch]]:
        @asynccontextmanager
        async def open_watch() -> AsyncIterator[AsyncIterator[WatchBatch]]:
            async with aclosing(self._batches(prefix, after_revision)) as batches:
                yield batches

        return open_watch()

    async def grant_lease(self, *, ttl_seconds: float) -> LeaseId:
        await trio.lowlevel.checkpoint()
        self._check()
        self._next_lease += 1
        lease_id = LeaseId(self._next_lease)
        self._state.grant(lease_id)
        self._ttl_seconds[lease_id] = ttl_seconds
        self._ends_at[lease_id] = trio.current_time() + ttl_seconds
        self._leases_changed.set()
        return lease_id

    async def keep_alive(self, lease_id: LeaseId) -> None:
        await trio.lowlevel.checkpoint()
        self._check()
        self._check_lease(lease_id)
        self._ends_at[lease_id] = trio.current_time() + self._ttl_seconds[lease_id]

    async def revoke_lease(self, lease_id: LeaseId) -> None:
        async with self._writing:
            self._check()
            if lease_id in self._ends_at:
                await self._end(lease_id)

    async def compact(self, revision: Revision) -> None:
        await trio.lowlevel.checkpoint()
        self._state.compact(revision)
        self._wake()

    async def expire_leases(self) -> None:
        """Ends leases as they run out; until cancelled."""
        while True:
            self._leases_changed = trio.Event()
            with trio.move_on_at(min(self._ends_at.values(), default=float("inf"))):
                await self._leases_changed.wait()
            async with self._writing:
                now = trio.current_time()
                for lease_id in [each for each, end in self._ends_at.items() if end <= now]:
                    try:
                        await self._end(lease_id)
                    except Unavailable:
                        await trio.sleep(1)

    def _check(self) -> None:
        if self._broken:
            raise Unavailable(f"the metadata store failed, restart this process: {self._broken}")

    def _check_lease(self, lease_id: LeaseId) -> None:
        if self._ends_at.get(lease_id, 0.0) <= trio.current_time():
            raise NotFound(f"lease {lease_id} is over: register again")

    async def _end(self, lease_id: LeaseId) -> None:
        await self._write([Delete(key=key) for key in self._state.keys_of(lease_id)])
        self._state.drop_lease(lease_id)
        del self._ends_at[lease_id], self._ttl_seconds[lease_id]

    async def _write(self, ops: Sequence[Put | Delete]) -> None:
        """Under the lock. The thread runs to its end also when the caller is cancelled, and is heard."""
        events = self._state.plan(ops)
        if not events:
            return
        revision = Revision(self._state.revision + 1)
        try:
            await self._threads.run(_POOL, self._file.write, events, revision)
        except _NoRoom as error:
            raise Unavailable(
                f"KAFSCALE_DATA_DIR has no room (its disk, a quota, a limit of file sizes; {error}): "
                "nothing was written"
            ) from error
        except sqlite3.Error as error:
            self._broken = str(error)
            raise Unavailable(
                f"the metadata store can't be written: {error}", outcome_unknown=True
            ) from error
        self._state.apply(events)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _batches(self, prefix: str, after_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        position = after_revision
        yield WatchBatch(revision=position, events=())
        progress_at = trio.current_time() + PROGRESS_SECONDS
        while True:
            await trio.lowlevel.checkpoint()
            if batches := self._state.changes_after(position):
                for batch in batches:
                    position = batch.revision
                    if seen := matching(batch, prefix):
                        yield seen
                continue
            if trio.current_time() >= progress_at:
                progress_at = trio.current_time() + PROGRESS_SECONDS
                yield WatchBatch(revision=max(position, self._state.revision), events=())
                continue
            changed = self._changed
            with trio.move_on_at(progress_at):
                await changed.wait()


@asynccontextmanager
async def open_sqlite_kv(
    data_dir: Path, *, history_revisions_max: int = HISTORY_REVISIONS_MAX
) -> AsyncIterator[SqliteKV]:
    """The store in this directory, which is made where there is none.

    Raises Invalid where the directory can't be written or another process has it, Corrupt where the file is
    no store.
    """
    threads = Threads({_POOL: 1})
    file = await threads.run(_POOL, _File, data_dir)
    failure: Exception | None = None
    try:
        revision, items = await threads.run(_POOL, file.load)
        kv = SqliteKV(
            file,
            threads,
            KeyState(revision=revision, items=items, history_revisions_max=history_revisions_max),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kv.expire_leases)
            try:
                yield kv
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        file.close()
    if failure is not None:
        raise failure


def _locked(data_dir: Path) -> int:
    """The lock of the directory, held until it is closed or the process ends."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(data_dir, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Invalid(
            f"another process uses {data_dir}: stop it, or set KAFSCALE_DATA_DIR to another folder",
            reason=Reason.INVALID_CONFIG,
        ) from error
    return fd


def _unwritable(data_dir: Path, error: Exception) -> Invalid:
    return Invalid(
        f"{data_dir} can't be written ({error}): set KAFSCALE_DATA_DIR to a folder that this user may write",
        reason=Reason.INVALID_CONFIG,
    )


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
