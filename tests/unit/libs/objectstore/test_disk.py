"""The directory's system calls when the disk misbehaves."""

import errno
import os
from pathlib import Path
from uuid import UUID

import pytest

from libs.model.errors import Fatal, Invalid, NotFound, Unavailable
from libs.objectstore.disk import Disk
from libs.objectstore.port import PutResult

ME = UUID(int=1)


def test_a_failed_sync_of_the_file_is_fatal_and_makes_no_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(str(tmp_path), ME)

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(Fatal):
            disk.put_if_absent("a/b", [b"x"])
        with pytest.raises(Fatal):
            disk.put("a/b", [b"x"])
    with pytest.raises(NotFound):
        disk.get("a/b", 0, None)
    disk.close()


@pytest.mark.parametrize("taken", [False, True])
def test_every_success_follows_the_sync_of_file_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    disk = Disk(str(tmp_path), ME)
    if taken:
        disk.put_if_absent("a/b", [b"other"])
    calls: list[str] = []
    real_sync, real_link = os.fsync, os.link

    def sync(fd: int) -> None:
        target = os.readlink(f"/proc/self/fd/{fd}")
        calls.append("file" if "/tmp/" in target.removeprefix(str(tmp_path)) else os.path.basename(target))
        real_sync(fd)

    def link(*args: object, **named: object) -> None:
        calls.append("link")
        real_link(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    result = disk.put_if_absent("a/b", [b"x"])
    assert result is (PutResult.EXISTS if taken else PutResult.CREATED)
    new_folder = [] if taken else ["objects"]
    assert calls == ["file", *new_folder, "link", "a.d"]
    disk.close()


def test_a_folder_that_another_process_made_is_synced_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Disk(str(tmp_path), ME), Disk(str(tmp_path), UUID(int=2))
    one.put_if_absent("a/b", [b"x"])
    synced: list[str] = []
    real_sync = os.fsync

    def sync(fd: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        real_sync(fd)

    monkeypatch.setattr(os, "fsync", sync)
    two.put_if_absent("a/c", [b"x"])
    assert synced[1:] == ["objects", "a.d"]
    one.close()
    two.close()


def test_a_full_disk_is_unavailable_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(str(tmp_path), ME)

    def full(fd: int, buffers: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        with pytest.raises(Unavailable, match="No space") as caught:
            disk.put_if_absent("a", [b"x"])
    assert not caught.value.outcome_unknown
    assert os.listdir(tmp_path / "tmp" / str(ME)) == ["lock"]
    assert disk.put_if_absent("a", [b"x"]) is PutResult.CREATED
    disk.close()


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(str(tmp_path), ME)
    real_writev = os.writev

    def short(fd: int, buffers: list[bytes]) -> int:
        return real_writev(fd, [memoryview(buffers[0])[:70_000]])

    monkeypatch.setattr(os, "writev", short)
    pieces = [bytes([number]) * 50_000 for number in range(9)]
    disk.put_if_absent("a", [*pieces])
    assert disk.get("a", 0, None) == b"".join(pieces)
    disk.close()


def test_a_directory_that_can_not_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Invalid, match="can't be used"):
        Disk(str(tmp_path / "file"), ME)


def test_the_system_is_synced_only_after_a_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: syncs.append("all"))
    Disk(str(tmp_path), ME).close()
    alive = Disk(str(tmp_path), UUID(int=2))
    Disk(str(tmp_path), UUID(int=3)).close()
    assert syncs == []
    dead = tmp_path / "tmp" / str(UUID(int=4))
    dead.mkdir()
    (dead / "7").write_bytes(b"half")
    Disk(str(tmp_path), UUID(int=5)).close()
    assert syncs == ["all"]
    assert os.listdir(tmp_path / "tmp") == [str(UUID(int=2))]
    alive.close()
