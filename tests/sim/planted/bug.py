"""A bug to plant: which lines of production code it changes, and who must catch it.

Owns: the value. Does not own: how it is planted (plant.py), which there are (catalogue.py).
"""

from dataclasses import dataclass
from typing import NamedTuple


class Change(NamedTuple):
    """In the module's source `old`, which is there exactly once, becomes `new`."""

    module: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedBug:
    """`rule`: of the design's section 3, or whose bug it was. `checker`: its name, see checkers/judge.py."""

    name: str
    rule: str
    checker: str
    changes: tuple[Change, ...]
    what: str
    """In a sentence: what the code does now."""
