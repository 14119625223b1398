"""The command line: what it says, and exit codes 0, 1 and 2."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trio

from libs.concurrency.rand import SystemRand
from libs.model.ids import Revision
from libs.objectstore.opening import ObjectStoreSettings, open_object_store
from libs.segments.keys import SnapshotName, TopicObjectName, snapshot_key, topic_object_key
from tests.support.segments import TOPIC_ID
from tools.bucket.__main__ import main, progress_line
from tools.bucket.report import Finding, Report, Severity, Tally
from tools.bucket.work import Progress


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bucket", *arguments])
    return main()


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    (tmp_path / "objects").mkdir()
    return tmp_path


def test_an_empty_bucket_is_right(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "verify", "--json", "--data-dir", str(bucket)) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["chains"], said["findings"]) == (True, 0, [])
    assert run(monkeypatch, "list-snapshots", "--data-dir", str(bucket)) == 0


def test_findings_are_1(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = topic_object_key(TopicObjectName(TOPIC_ID, 0))

    async def damage() -> None:
        settings = ObjectStoreSettings(directory=str(bucket / "objects"), probe=False)
        async with open_object_store(settings, rand=SystemRand()) as opened:
            await opened.store.put(key, b"damaged")

    trio.run(damage)
    code = run(monkeypatch, "verify", "--data-dir", str(bucket))
    said = capsys.readouterr().out
    assert code == 1, said
    assert "error: corrupt" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("verify", "--data-dir", "/nowhere/at/all"), "there is no bucket"),
        (("verify", "--sample", "7"), "--sample"),
        (("verify", "--lease-seconds", "never"), "KAFSCALE_LEASE_SECONDS"),
        (("rebuild", "--overwrite"), "--yes"),
        (("verify", "--gets", "0"), "--gets"),
        (("rebuild", "--data-dir", "/nowhere/at/all"), "there is no bucket"),
    ],
)
def test_what_can_not_run_is_2(
    arguments: tuple[str, ...],
    why: str,
    bucket: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KAFSCALE_DATA_DIR", str(bucket))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert run(monkeypatch, *arguments) == 2
    assert why in capsys.readouterr().err


def test_a_time_that_is_none_says_how_one_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "restore", "--at", "yesterday")
    assert ended.value.code == 2
    assert "'yesterday' is no time: 2026-01-31T12:00:00Z" in capsys.readouterr().err


def test_a_fault_of_the_tool_is_not_called_one_of_the_data(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr("tools.bucket.__main__.verify", fails)
    assert run(monkeypatch, "verify", "--data-dir", str(bucket)) == 2
    assert "what nobody thought of" in capsys.readouterr().err


def test_a_folder_without_a_bucket_gets_no_metadata_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, "rebuild", "--data-dir", str(tmp_path / "typo")) == 2
    assert not (tmp_path / "typo").exists()


def test_a_snapshot_named_for_the_end_of_time_is_listed(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = snapshot_key(SnapshotName(10**20 - 1, Revision(1)))

    async def put() -> None:
        settings = ObjectStoreSettings(directory=str(bucket / "objects"), probe=False)
        async with open_object_store(settings, rand=SystemRand()) as opened:
            await opened.store.put(key, b"foreign")

    trio.run(put)
    assert run(monkeypatch, "list-snapshots", "--data-dir", str(bucket)) == 0
    assert key in capsys.readouterr().out
    assert run(monkeypatch, "rebuild", "--data-dir", str(bucket)) == 1
    assert key in capsys.readouterr().err


def test_a_store_that_has_something_is_not_overwritten_without_a_word(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("rebuild", "--data-dir", str(bucket))
    assert run(monkeypatch, *arguments) == 0
    assert "0 topics" in capsys.readouterr().out
    assert run(monkeypatch, *arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(monkeypatch, *arguments, "--overwrite", "--yes") == 0
    at = ("--overwrite", "--yes", "--at", "2026-01-01T00:00:00Z")
    assert run(monkeypatch, "restore", *arguments[1:], *at) == 2


def test_the_progress_says_how_long_it_will_take() -> None:
    progress = Progress(
        objects_total=10, bytes_total=4 << 20, objects_done=5, bytes_done=1 << 20, phase="chains"
    )
    assert progress_line(progress, 20) == "chains: 5 / 10 objects, 1 / 4 MiB, about 60 s left"
    assert progress_line(Progress(), 1) == "counting: 0 / 0 objects, 0 / 0 MiB"


def test_a_report_is_for_people_and_for_machines() -> None:
    finding = Finding(severity=Severity.ERROR, kind="hole", where="a/0", what="nothing has [1, 2)")
    report = Report(
        findings=(finding,),
        seen={"segment": Tally(objects=2, size_bytes=1 << 20)},
        garbage={"below_start": Tally(objects=1, size_bytes=0)},
        chains=1,
        partitions=1,
        read_bytes=1 << 20,
        seconds=1.5,
    )
    text = report.text()
    assert "error: hole: a/0: nothing has [1, 2)" in text
    assert "1 errors, 0 warnings" in text
    said = json.loads(json.dumps(report.as_json()))
    assert said["findings"][0]["kind"] == "hole"
    assert said["garbage"]["below_start"]["objects"] == 1
