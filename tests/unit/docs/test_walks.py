"""The walks name what exists: each step's file, function and span."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WALKS = sorted((ROOT / "docs" / "walks").glob("*.md"))
_STEP = re.compile(r"`((?:libs|services)/[\w/]+\.py):([\w.]+)`")
_SPAN = re.compile(r"span `([\w.]+)`")


def _definitions(source: str) -> set[str]:
    """Functions, methods as Class.method, and classes of a module."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


def test_the_walks_are_there() -> None:
    assert [walk.name for walk in WALKS] == ["compaction.md", "fetch.md", "produce.md"]


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.stem)
def test_each_step_names_a_function_that_exists(walk: Path) -> None:
    steps = _STEP.findall(walk.read_text())
    assert len(steps) >= 8, "a walk has a step for each part that a record passes"
    missing = [
        f"{file}:{name}"
        for file, name in steps
        if not (ROOT / file).is_file() or name not in _definitions((ROOT / file).read_text())
    ]
    assert not missing


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.stem)
def test_each_span_is_opened_in_the_file_of_its_step(walk: Path) -> None:
    checked = 0
    for line in walk.read_text().splitlines():
        for name in _SPAN.findall(line):
            files = [file for file, _function in _STEP.findall(line)]
            assert any(f'span("{name}")' in (ROOT / file).read_text() for file in files), line
            checked += 1
    assert checked >= 3
