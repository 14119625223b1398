"""The toolchain's cache: a part is whole or absent, made once, and a failure is one line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import recipes, toolchain
from tools.recipes import RECIPES, Recipe, Run, ToolchainError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAFSCALE_TOOLCHAIN_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build_file(run: Run, folder: Path) -> None:
    run("sh", "-c", f'echo "$GREETING" > {folder}/part', cwd=folder, GREETING="made")


def fail_halfway(run: Run, folder: Path) -> None:
    (folder / "part").write_text("half")
    run("sh", "-c", "echo the reason; exit 3", cwd=folder)


def recipe(*, build: Callable[[Run, Path], None] = build_file, inputs: tuple[Path, ...] = ()) -> Recipe:
    return Recipe(
        name="thing",
        version="1.0",
        about="a thing",
        programs=("thing",),
        needs=lambda: None,
        build=build,
        inputs=inputs,
    )


def test_a_part_is_made_once(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = toolchain.prepare(recipe())
    assert place == cache / "thing" / "1.0"
    assert (place / "part").read_text() == "made\n"
    assert "ready after" in capsys.readouterr().err
    assert toolchain.prepare(recipe()) == place
    assert capsys.readouterr().err == ""


def test_a_failure_leaves_nothing_and_names_the_log(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ToolchainError, match=r"^thing: `sh -c .*ended with 3; the whole log is .*last\.log$"):
        toolchain.prepare(recipe(build=fail_halfway))
    assert "the reason" in capsys.readouterr().err
    assert sorted(path.name for path in (cache / "thing").iterdir()) == [".lock", "last.log"]
    assert toolchain.prepare(recipe()).is_dir()


def test_what_a_killed_run_left_is_removed(cache: Path) -> None:
    left_over = cache / "thing" / ".making-abc"
    left_over.mkdir(parents=True)
    toolchain.prepare(recipe())
    assert not left_over.exists()


def test_a_changed_input_is_a_new_part(tmp_path: Path) -> None:
    pinned = tmp_path / "go.mod"
    pinned.write_text("one")
    first = toolchain.prepare(recipe(inputs=(pinned,)))
    pinned.write_text("two")
    assert toolchain.prepare(recipe(inputs=(pinned,))) != first


def test_the_second_run_waits_for_the_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run is a process of its own; it goes on only once the second one has said that it waits."""
    (cache / "thing").mkdir(parents=True)
    first_run = (
        "import fcntl, sys, pathlib\n"
        "home = pathlib.Path(sys.argv[1])\n"
        "lock = open(home / '.lock', 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.readline()\n"
        "(home / '1.0').mkdir(); (home / '1.0' / 'part').write_text('theirs')\n"
    )
    command = [sys.executable, "-c", first_run, str(cache / "thing")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        said: list[str] = []

        def go_on_once_it_waits(line: str) -> None:
            said.append(line)
            first.communicate(b"\n")

        monkeypatch.setattr(toolchain, "_say", go_on_once_it_waits)
        place = toolchain.prepare(recipe())
    assert said == ["thing: another run is making it, waiting"]
    assert (place / "part").read_text() == "theirs"


@pytest.mark.parametrize(
    ("need", "words"),
    [
        (recipes.need_go, "go is missing: install Go 1.26"),
        (recipes.need_java, "java is missing: install a JDK 17"),
        (recipes.need_maven, "java is missing: install a JDK 17"),
        (recipes.need_kcat, "kcat is missing: install kcat"),
        (recipes.need_python39, "python3.9 is missing"),
    ],
)
def test_a_missing_prerequisite_is_named_in_one_line(
    need: Callable[[], None], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(ToolchainError) as error:
        need()
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_an_old_go_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go version go1.21.5 linux/amd64\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ToolchainError, match=r"^go 1\.21 is too old: install Go 1\.26 or newer$"):
        recipes.need_go()


def test_check_names_everything_that_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolchain.main(["--check"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in told] == ["go", "java", "kcat"]


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        toolchain.main(["zookeeper"])
    assert f"there are {', '.join(each.name for each in RECIPES)}" in capsys.readouterr().err


def test_every_program_has_one_recipe() -> None:
    programs = [program for one in RECIPES for program in one.programs]
    assert sorted(programs) == sorted(set(programs))
    with pytest.raises(KeyError):
        toolchain.tool_path("zookeeper")
