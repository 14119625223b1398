"""Every await at which an owner can be killed, and killing it exactly there.

Owns: the sites (by AST: the denominator), which task is at which, what was hit. Does not own: the kill
itself (world.py), starting again.
Rules: 1 a site is an `await`, `async with` or `async for` of the modules that flush, take over, hand over,
compact and collect, but for what never waits (`async with aclosing`); 2 it is hit when an owner was killed
while one of its tasks was suspended there, at any depth of its calls; 3 what a seed aims at depends on the
seed alone: the seeds in turn aim at all sites; 4 who names the sites aims at those that seeds rarely meet,
most of them behind a failure: then owners get into trouble where their tasks are in the same functions.
"""

import ast
import gc
import re
from collections.abc import Iterator, Sequence
from functools import cache
from inspect import isasyncgen
from math import gcd
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

import trio

from libs.concurrency.rand import Rand
from tests.sim.world.determinism import PROCESS
from tests.sim.world.process import SimProcess
from tests.sim.world.world import World

_ROOT: Final = Path(__file__).parents[3]
_OWNER: Final = "services/partition_owner"
_FILES: Final = (
    "appending.py",
    "assignments.py",
    "chain_writer.py",
    "flusher.py",
    "footers.py",
    "handover.py",
    "manifests.py",
    "opening.py",
    "sealing.py",
    "session.py",
    "topic_objects.py",
)
_FOLDERS: Final = ("compaction", "collection")
TARGETS_PER_SEED: Final = 8
_STEPS_OF_GENERATORS: Final = ("async_generator_asend", "async_generator_athrow")
"""What a task awaits in an `async for`; they tell their generator to the collector of garbage only."""


class Site(NamedTuple):
    """An await: file (below the owner's package), function, and its lines."""

    file: str
    function: str
    line: int
    last_line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


@cache
def sites() -> tuple[Site, ...]:
    """All of them, in the order of files and lines."""
    package = _ROOT / _OWNER
    paths = [package / name for name in _FILES]
    for folder in _FOLDERS:
        paths += sorted((package / folder).glob("*.py"))
    return tuple(site for path in paths if path.exists() for site in _sites_of(path, package))


def _sites_of(path: Path, package: Path) -> Iterator[Site]:
    found: dict[tuple[int, int], Site] = {}
    file = path.relative_to(package).as_posix()

    def visit(node: ast.AST, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{function}.{child.name}".lstrip(".")
            for line, last_line in _awaits(child):
                found[line, last_line] = Site(file, function, line, last_line)
            visit(child, name)

    visit(ast.parse(path.read_text()), "")
    yield from (found[place] for place in sorted(found))


def _awaits(node: ast.AST) -> Iterator[tuple[int, int]]:
    if isinstance(node, ast.Await):
        yield node.lineno, node.end_lineno or node.lineno
    elif isinstance(node, ast.AsyncFor):
        yield node.iter.lineno, node.iter.end_lineno or node.iter.lineno
    elif isinstance(node, ast.AsyncWith):
        for item in node.items:
            if _never_waits(item.context_expr):
                continue
            yield item.context_expr.lineno, item.context_expr.end_lineno or item.context_expr.lineno


def _never_waits(entered: ast.expr) -> bool:
    """`aclosing` is entered at once, and left when its generator has ended, which then closes at once."""
    return (
        isinstance(entered, ast.Call) and isinstance(entered.func, ast.Name) and entered.func.id == "aclosing"
    )


class KillPoints(trio.abc.Instrument):
    """An instrument of the run: it looks where owners' tasks are suspended, while it is armed."""

    def __init__(self, seed: int, rand: Rand, *, aim: Sequence[str] = ()) -> None:
        self.hit: dict[Site, int] = {}
        self._rand = rand
        self._world: World | None = None
        self._targets = targets_of(seed, aim)
        self._near = {(site.file, site.function) for site in self._targets} if aim else set()
        self._armed: dict[Site, None] = {}
        self._killed: list[str] = []
        self._happened = trio.Event()
        self._came_near = trio.Event()
        self._near_by = ""

    @property
    def is_aimed(self) -> bool:
        """Somebody named the sites."""
        return bool(self._near)

    def watch(self, world: World) -> None:
        """The world whose owners are to be killed."""
        self._world = world

    async def next_kill(self) -> str:
        """Arms all targets that are left; the name of the owner that was killed at one of them."""
        self._armed = dict.fromkeys(self._targets)
        self._happened = happened = trio.Event()
        await happened.wait()
        return self._killed.pop(0)

    async def next_near(self) -> str:
        """The name of the next owner with a task in a function that has a site that was named."""
        self._came_near = came_near = trio.Event()
        await came_near.wait()
        return self._near_by

    def disarm(self) -> None:
        self._armed = {}

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._armed:
            return
        process = task.context.get(PROCESS)
        if not isinstance(process, SimProcess) or not process.alive or process.name[0] != "o":
            return
        for site in sites_at(task):
            if site in self._armed and self._rand.random() < 0.5:
                self._kill(process, site)
                return
            if (site.file, site.function) in self._near and not self._came_near.is_set():
                self._near_by = process.name
                self._came_near.set()

    def _kill(self, process: SimProcess, site: Site) -> None:
        world = self._world
        if world is None or world.members[process.name].process is not process:
            return
        self.hit[site] = self.hit.get(site, 0) + 1
        self._targets.remove(site)
        self._armed = {}
        world.fault("kill_at_point", f"{process.name} at {site}")
        process.host_answers = self._rand.random() < 0.7
        world.kill(process.name)
        self._killed.append(process.name)
        self._happened.set()


def targets_of(seed: int, aim: Sequence[str] = ()) -> list[Site]:
    """What this seed aims at: the seeds go round all sites. `aim`: parts of names; at all of these sites."""
    known = sites()
    if aim:
        return [site for site in known if any(is_named(site, part) for part in aim)]
    count = len(known)
    # Neighbours in the code are hit together: each seed takes sites that are far apart.
    stride = next(each for each in range(int(count * 0.618), 2 * count) if gcd(each, count) == 1)
    first = seed * TARGETS_PER_SEED
    return [known[(first + index) * stride % count] for index in range(min(TARGETS_PER_SEED, count))]


def is_named(site: Site, part: str) -> bool:
    """Whether `part` is of its name: of a line all digits, of a function whole words."""
    return re.search(rf"{re.escape(part)}\b", str(site)) is not None


def sites_at(task: trio.lowlevel.Task) -> Iterator[Site]:
    """The sites at which a task is suspended, outermost first."""
    awaited: Any = task.coro
    while awaited is not None:
        if type(awaited).__name__ in _STEPS_OF_GENERATORS:
            awaited = next(filter(isasyncgen, gc.get_referents(awaited)), None)
        frame: FrameType | None = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            known = _sites_of_code(frame.f_code)
            if known:
                line = frame.f_lineno
                inside = [site for site in known if site.line <= line <= site.last_line]
                if inside:
                    yield min(inside, key=lambda site: site.last_line - site.line)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)


@cache
def _sites_by_file() -> dict[str, tuple[Site, ...]]:
    found: dict[str, list[Site]] = {}
    for site in sites():
        found.setdefault(str(_ROOT / _OWNER / site.file), []).append(site)
    return {name: tuple(of_file) for name, of_file in found.items()}


@cache
def _sites_of_code(code: CodeType) -> tuple[Site, ...]:
    of_file = _sites_by_file().get(code.co_filename, ())
    if not of_file:
        return ()
    lines = [line for _, _, line in code.co_lines() if line is not None]
    first, last = min(lines, default=0), max(lines, default=-1)
    return tuple(site for site in of_file if first <= site.line <= last)
