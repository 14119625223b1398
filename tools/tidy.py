"""Checks that the tree keeps the house's rules: layers, doors, what is handed in, sizes, what may be named.

Owns: reading the code and saying what is wrong, in one line each, with the rule and what to do instead.
Does not own: the tables (layers.py), style that ruff knows.
Rules: 1 code is parsed, never run; 2 no file is passed over but generated ones; 3 an exemption that nothing
needs is a finding too.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from tools.layers import (
    DOORS,
    EXEMPTIONS,
    HANDED_IN,
    HANDED_IN_FROM,
    MAY_IMPORT,
    PURE,
    PURE_REFUSED,
    Exemption,
)

LINES_MAX = 500
FOLDERS = (".ci", "charts", "docs", "libs", "proto", "services", "tests", "tools")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_grpc.py")
NAMESPACES = ("libs/__init__.py", "services/__init__.py", "proto/__init__.py")

_OPEN_ENDS = re.compile(r"\b(?:[T]ODO|[F]IXME)\b(?!.*#\d+)")
_MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:work|root|home|Users)/[\w.-]+|/tmp/[s]cratch\b")
_REGISTRY = re.compile(
    r"\b(?:pypi[.]org|pythonhosted[.]org|proxy[.]golang[.]org|sum[.]golang[.]org|repo1?[.]maven[.]|"
    r"maven[.]org|npmjs[.](?:org|com)|deb[.]debian[.]org|security[.]debian[.]org|crates[.]io)"
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One broken rule at one place."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported name, dotted and absolute, and the local name that stands for `stands_for`."""

    target: str
    line: int
    local: str
    stands_for: str


def check(root: Path, exemptions: Sequence[Exemption] = EXEMPTIONS) -> list[Finding]:
    """Every finding in the tree below `root`, sorted; exemptions applied."""
    found = sorted(one for path in source_files(root) for one in check_file(root, path))
    exempt = {(one.rule, one.path) for one in exemptions}
    broken = {(one.rule, one.path) for one in found}
    unused = [
        Finding(
            path=path, line=1, rule="exemption", message=f"nothing breaks `{rule}` here: remove the exemption"
        )
        for rule, path in sorted(exempt - broken)
    ]
    return [one for one in found if (one.rule, one.path) not in exempt] + unused


def source_files(root: Path) -> Iterator[PurePosixPath]:
    """Every file that a commit may hold, relative to `root`, but generated code."""
    top = (path for path in root.iterdir() if path.is_file())
    below = (path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file())
    for path in (*top, *below):
        if "__pycache__" not in path.parts and not any(path.match(pattern) for pattern in GENERATED):
            yield PurePosixPath(path.relative_to(root).as_posix())


def check_file(root: Path, path: PurePosixPath) -> Iterator[Finding]:
    """The findings in one file; bytes that are no text have none."""
    try:
        text = (root / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    yield from check_text(path, text)
    if path.suffix == ".py":
        yield from check_module(path, text)


def check_text(path: PurePosixPath, text: str) -> Iterator[Finding]:
    """What no file may name: open ends without an issue, this machine's paths, registries."""
    for number, line in enumerate(text.splitlines(), start=1):
        for rule, pattern, instead in (
            ("open-end", _OPEN_ENDS, "name the issue (#123) beside it, or do it now"),
            ("machine-path", _MACHINE_PATH, "find it by $HOME, PATH or a setting"),
            ("registry-host", _REGISTRY, "leave the source to the machine's own configuration"),
        ):
            if hit := pattern.search(line):
                yield Finding(path=str(path), line=number, rule=rule, message=f"`{hit[0]}`: {instead}")


def check_module(path: PurePosixPath, text: str) -> Iterator[Finding]:
    """The rules about a Python module."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield Finding(path=str(path), line=error.lineno or 1, rule="syntax", message=error.msg)
        return
    if str(path) in NAMESPACES:
        message = "these folders are namespace packages: remove the file"
        yield Finding(path=str(path), line=1, rule="namespace", message=message)
    if not ast.get_docstring(tree):
        message = "begin the module with one sentence that says what it is"
        yield Finding(path=str(path), line=1, rule="docstring", message=message)
    lines = len(text.splitlines())
    if lines > LINES_MAX:
        message = f"{lines} lines hide two ideas: split it below {LINES_MAX}"
        yield Finding(path=str(path), line=lines, rule="size", message=message)
    if path.parts[0] in {"libs", "services"}:
        imports = list(_imports(path, tree))
        yield from _check_layers(path, imports)
        yield from _check_doors(path, imports)
        yield from _check_handed_in(path, tree, imports)


def _imports(path: PurePosixPath, tree: ast.Module) -> Iterator[Import]:
    """All imports of a module, those inside functions and TYPE_CHECKING included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                local = name.asname or name.name.split(".")[0]
                stands_for = name.name if name.asname else local
                yield Import(target=name.name, line=node.lineno, local=local, stands_for=stands_for)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.parts[: len(path.parts) - node.level]) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            for name in node.names:
                target = f"{module}.{name.name}"
                yield Import(
                    target=target, line=node.lineno, local=name.asname or name.name, stands_for=target
                )


def _check_layers(path: PurePosixPath, imports: Iterable[Import]) -> Iterator[Finding]:
    own = "/".join(path.parts[:2])
    allowed = MAY_IMPORT.get(own)
    if allowed is None:
        message = f"{own} has no layer: add it to tools/layers.py and to the BUILD files"
        yield Finding(path=str(path), line=1, rule="layer", message=message)
        return
    for one in imports:
        root, *rest = one.target.split(".")
        other = "/".join((root, *rest[:1]))
        if root in {"tools", "tests"}:
            message = f"{own} imports {one.target}: what runs must not need what builds or tests it"
        elif root in {"libs", "services"} and other != own and other not in allowed:
            message = f"{own} imports {other}: {_reason(own, other)}"
        else:
            continue
        yield Finding(path=str(path), line=one.line, rule="layer", message=message)
    if own in PURE:
        for one in imports:
            if one.target.split(".")[0] in PURE_REFUSED:
                message = f"{own} imports {one.target}: bytes in, values out; let the caller do that"
                yield Finding(path=str(path), line=one.line, rule="pure", message=message)


def _reason(own: str, other: str) -> str:
    if own.startswith("libs/") and other.startswith("services/"):
        return "imports go down only; move what is shared into a lib"
    if own.startswith("services/") and other.startswith("services/"):
        return "services never import each other; talk through libs/clients"
    if other not in MAY_IMPORT:
        return "no such layer; add it to tools/layers.py"
    return "imports go down only; move the code down, or have the value handed in"


def _check_doors(path: PurePosixPath, imports: Iterable[Import]) -> Iterator[Finding]:
    for one in imports:
        door = next((door for door in DOORS if any(_within(one.target, name) for name in door.modules)), None)
        if door and not any(fnmatchcase(str(path), pattern) for pattern in door.files):
            message = f"{one.target} is imported in {door.place} only: {door.instead}"
            yield Finding(path=str(path), line=one.line, rule="door", message=message)


def _check_handed_in(path: PurePosixPath, tree: ast.Module, imports: Sequence[Import]) -> Iterator[Finding]:
    """Finds a banned name however it is spelled: `import time as t; t.time()`, `from time import time`."""
    if path.is_relative_to(HANDED_IN_FROM):
        return
    names = {one.local: one.stands_for for one in imports} | {"__import__": "__import__"}
    seen = {(one.line, one.target) for one in imports}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and (dotted := _dotted(node, names)):
            seen.add((node.lineno, dotted))
    told: set[tuple[int, str]] = set()
    for line, dotted in sorted(seen):
        banned = next((name for name in HANDED_IN if _within(dotted, name)), None)
        if banned and (line, banned) not in told:
            told.add((line, banned))
            message = f"{banned} is handed in: {HANDED_IN[banned]}"
            yield Finding(path=str(path), line=line, rule="handed-in", message=message)


def _within(dotted: str, module: str) -> bool:
    return dotted == module or dotted.startswith(f"{module}.")


def _dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """What `a.b.c` stands for, given what the imports named; None when its root is no import."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (root := _dotted(node.value, names)):
        return f"{root}.{node.attr}"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings of a tree; 1 when there are any."""
    parser = argparse.ArgumentParser(prog="python -m tools.tidy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", nargs="?", type=Path, default=Path.cwd(), help="the tree, here by default")
    findings = check(parser.parse_args(arguments).root)
    for finding in findings:
        print(finding)
    print(f"tidy: {len(findings)} findings" if findings else "tidy: all rules kept")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
