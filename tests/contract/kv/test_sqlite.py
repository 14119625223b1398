"""What only the SQLite store promises: one process, and everything there after the next start."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from libs.model.errors import Corrupt, Fenced, Invalid, NotFound, Unavailable
from libs.model.ids import Revision
from services.metadata.kv.port import Deleted, KeyValue, ModRevisionIs, Put
from services.metadata.kv.sqlite import FILE, open_sqlite_kv


async def test_keys_and_revisions_outlive_the_process(tmp_path: Path) -> None:
    async with open_sqlite_kv(tmp_path) as kv:
        first = (await kv.txn([], [Put(key="a", value=b"1")])).revision
        second = (await kv.txn([], [Put(key="a", value=b"2")])).revision
    async with open_sqlite_kv(tmp_path) as kv:
        item = await kv.get("a")
        assert item == KeyValue(key="a", value=b"2", create_revision=first, mod_revision=second)
        third = await kv.txn([ModRevisionIs(key="a", revision=second)], [Put(key="a", value=b"3")])
        assert third.revision == second + 1


async def test_keys_of_leases_go_on_opening_as_one_revision(tmp_path: Path) -> None:
    async with open_sqlite_kv(tmp_path) as kv:
        lease_id = await kv.grant_lease(ttl_seconds=600)
        puts = [Put(key=key, value=b"", lease_id=lease_id) for key in ("owners/a", "owners/b")]
        last = (await kv.txn([], [*puts, Put(key="topics/a", value=b"")])).revision
    async with open_sqlite_kv(tmp_path) as kv:
        page = await kv.range("")
        assert [item.key for item in page.items] == ["topics/a"]
        assert page.revision == last + 1
        with pytest.raises(NotFound):
            await kv.keep_alive(lease_id)
        assert await kv.grant_lease(ttl_seconds=600) != lease_id


async def test_a_killed_process_loses_nothing_that_it_was_told(tmp_path: Path) -> None:
    """The child says each revision once its transaction returned; then it is killed."""
    told = await trio.to_thread.run_sync(_write_until_killed, tmp_path)
    async with open_sqlite_kv(tmp_path) as kv:
        for number, revision in enumerate(told):
            item = await kv.get(f"k{number}")
            assert item is not None
            assert item.mod_revision == int(revision)


def _write_until_killed(folder: Path) -> list[str]:
    command = [sys.executable, "-c", _CHILD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(30)]
        child.kill()
    return told


_CHILD = """
import sys, trio
from pathlib import Path
from services.metadata.kv.port import Put
from services.metadata.kv.sqlite import open_sqlite_kv

async def main():
    async with open_sqlite_kv(Path(sys.argv[1])) as kv:
        number = 0
        while True:
            result = await kv.txn([], [Put(key=f"k{number}", value=b"v")])
            print(result.revision, flush=True)
            number += 1

trio.run(main)
"""


async def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    async with open_sqlite_kv(tmp_path):
        with pytest.raises(Invalid, match="another process uses"):
            async with open_sqlite_kv(tmp_path):
                raise AssertionError
    async with open_sqlite_kv(tmp_path) as kv:
        assert await kv.get("a") is None


async def test_a_directory_that_can_not_be_written_is_named_with_its_setting(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no directory")
    with pytest.raises(Invalid, match="KAFSCALE_DATA_DIR") as caught:
        async with open_sqlite_kv(file / "data"):
            raise AssertionError
    assert str(file / "data") in caught.value.message


async def test_a_file_that_is_no_store_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"something else entirely" * 100)
    with pytest.raises(Corrupt, match="no metadata store"):
        async with open_sqlite_kv(tmp_path):
            raise AssertionError
    assert (tmp_path / FILE).read_bytes() == b"something else entirely" * 100


async def test_a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    async with open_sqlite_kv(tmp_path):
        pass
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Invalid, match="format 99"):
        async with open_sqlite_kv(tmp_path):
            raise AssertionError


async def test_after_an_error_of_the_disk_the_store_refuses_everything(tmp_path: Path) -> None:
    async with open_sqlite_kv(tmp_path) as kv:
        await kv.txn([], [Put(key="a", value=b"1")])
        with sqlite3.connect(tmp_path / FILE) as db:
            db.execute("DROP TABLE keys")  # stands for a disk that fails in the middle
        db.close()
        with pytest.raises(Unavailable) as caught:
            await kv.txn([], [Put(key="a", value=b"2")])
        assert caught.value.outcome_unknown
        with pytest.raises(Unavailable, match="restart"):
            await kv.get("a")


def test_a_file_that_may_not_grow_is_written_again_once_it_may(tmp_path: Path) -> None:
    """In a process of its own: the limit is one of the process."""
    command = [sys.executable, "-c", _LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


_LIMITED = """
import resource, sys, trio
from pathlib import Path
from libs.model.errors import Unavailable
from services.metadata.kv.port import ModRevisionIs, Put
from services.metadata.kv.sqlite import open_sqlite_kv

def limit(size_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

async def refused(kv, size_bytes):
    limit(size_bytes)
    try:
        await kv.txn([], [Put(key="b", value=bytes(300_000))])
    except Unavailable as error:
        assert not error.outcome_unknown, error
    else:
        raise AssertionError("it was written")
    assert await kv.get("b") is None
    limit(resource.RLIM_INFINITY)

async def main():
    folder = Path(sys.argv[1])
    async with open_sqlite_kv(folder) as kv:
        written = await kv.txn([], [Put(key="a", value=b"1")])
        for size_bytes in (0, 30_000, 200_000):
            await refused(kv, size_bytes)
            guard = ModRevisionIs(key="a", revision=written.revision)
            written = await kv.txn([guard], [Put(key="a", value=bytes(size_bytes))])
            assert written.succeeded
    async with open_sqlite_kv(folder) as kv:
        assert (await kv.get("a")).mod_revision == written.revision
        assert await kv.get("b") is None

trio.run(main)
"""


async def test_a_cancelled_writer_leaves_state_and_file_agreeing(tmp_path: Path) -> None:
    async with open_sqlite_kv(tmp_path) as kv:
        for number in range(50):
            with trio.move_on_after(0.0003 * number):
                await kv.txn([], [Put(key=f"k{number}", value=b"v")])
        seen = {item.key: item.mod_revision for item in (await kv.range("")).items}
        revision = (await kv.range("")).revision
    async with open_sqlite_kv(tmp_path) as kv:
        page = await kv.range("")
        assert {item.key: item.mod_revision for item in page.items} == seen
        assert page.revision == revision


async def test_a_slow_watcher_is_told_that_it_missed_something(tmp_path: Path) -> None:
    async with (
        open_sqlite_kv(tmp_path, history_revisions_max=10) as kv,
        kv.watch("", after_revision=Revision(1)) as batches,
    ):
        await anext(batches)  # it is up
        for number in range(30):
            await kv.txn([], [Put(key=f"k{number}", value=b"")])
        with pytest.raises(Fenced, match="compacted"):
            await anext(batches)


async def test_a_lease_that_ends_is_deleted_from_the_file(tmp_path: Path) -> None:
    async with open_sqlite_kv(tmp_path) as kv:
        lease_id = await kv.grant_lease(ttl_seconds=1)  # time enough to use it
        result = await kv.txn([], [Put(key="a", value=b"", lease_id=lease_id)])
        async with kv.watch("", after_revision=result.revision) as batches:
            with trio.fail_after(10):
                await anext(batches)  # it is up
                batch = await anext(batches)
        assert batch.events == (Deleted(key="a"),)
    async with open_sqlite_kv(tmp_path) as kv:
        assert (await kv.range("")).revision == batch.revision
