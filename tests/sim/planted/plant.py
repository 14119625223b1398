"""Plants a bug into the running production code, and takes it out again.

Owns: the patch of a module's source, and of its functions in place. Does not own: which bugs there are.
Rules: 1 what is patched is the source, as an editor would do it: the text has to be there exactly once, and
at least one function has to come out different, else PlantError; 2 only the code of those functions is
replaced: whoever has imported them runs the bug too, and classes, values and identities stay as they are.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from tests.sim.planted.bug import Change, PlantedBug


class PlantError(Exception):
    """The bug does not fit the code any more: the code has changed, the bug has to follow."""


@contextmanager
def planted(bug: PlantedBug) -> Iterator[None]:
    """The production code has this bug inside the block. Raises PlantError."""
    replaced: list[tuple[FunctionType, CodeType]] = []
    try:
        for module_name in dict.fromkeys(change.module for change in bug.changes):
            for function, code in _patched(
                bug, module_name, [each for each in bug.changes if each.module == module_name]
            ):
                replaced.append((function, function.__code__))
                function.__code__ = code
        yield
    finally:
        for function, code in reversed(replaced):
            function.__code__ = code


def _patched(bug: PlantedBug, module_name: str, changes: list[Change]) -> list[tuple[FunctionType, CodeType]]:
    """The functions that come out different, with their new code."""
    module = importlib.import_module(module_name)
    path = str(module.__file__)
    source = after = Path(path).read_text()
    for change in changes:
        count = after.count(change.old)
        if count != 1:
            raise PlantError(
                f"{bug.name}: the text to replace is {count} times in {module_name}:\n{change.old}"
            )
        after = after.replace(change.old, change.new)
    try:
        new = _functions(compile(after, path, "exec"))
    except SyntaxError as error:
        raise PlantError(f"{bug.name}: {module_name} does not compile with it: {error}") from error
    old = _functions(compile(source, path, "exec"))
    found = [
        (_resolve(bug, module, name), code)
        for name, code in new.items()
        if name in old and _shape(code) != _shape(old[name])
    ]
    if not found:
        raise PlantError(f"{bug.name}: no function of {module_name} comes out different")
    return found


def _functions(module: CodeType) -> dict[str, CodeType]:
    """Functions and methods by qualified name; what is inside of a function goes with it."""
    found: dict[str, CodeType] = {}
    for const in module.co_consts:
        if isinstance(const, CodeType) and not const.co_name.startswith("<"):
            if _is_class_body(const):
                found |= _functions(const)
            else:
                found[const.co_qualname] = const
    return found


def _is_class_body(code: CodeType) -> bool:
    return "__qualname__" in code.co_names and "__module__" in code.co_names


def _shape(code: CodeType) -> tuple[Any, ...]:
    """What the code does, without where it stands."""
    consts = tuple(
        _shape(each) if isinstance(each, CodeType) else (type(each), each) for each in code.co_consts
    )
    return (code.co_code, consts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)


def _resolve(bug: PlantedBug, module: Any, qualified_name: str) -> FunctionType:
    found = module
    for part in qualified_name.split("."):
        found = found.__dict__[part]
    for wrapped in ("__func__", "fget", "__wrapped__"):
        found = getattr(found, wrapped, found)
    if not isinstance(found, FunctionType):
        raise PlantError(f"{bug.name}: {qualified_name} of {module.__name__} is no function")
    return found
