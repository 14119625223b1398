"""Breadth-first search through all states of a small world.

Owns: which states were reached, the shortest trace to a state that breaks a promise. Does not own: the world,
its steps and its promises.
Rules: 1 worlds are hashable values in a canonical form: two that behave alike should be equal; 2 the search
ends at the first broken promise, which is one of the nearest; 3 it refuses to run away.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

WorldT = TypeVar("WorldT", bound=Hashable)
PromiseT = TypeVar("PromiseT")

Step = tuple[str, WorldT]
"""What somebody does, and the world after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored(Generic[WorldT, PromiseT]):
    """All that was reached; or, of a promise that was broken, how."""

    parents: dict[WorldT, WorldT | None]
    transitions: int
    broken: PromiseT | None = None
    trace: tuple[str, ...] = ()

    @property
    def states(self) -> int:
        return len(self.parents)

    def describe(self) -> str:
        """For people: the count, and the counterexample step by step."""
        told = f"{self.states} states, {self.transitions} transitions"
        if self.broken is None:
            return told
        steps = "".join(f"\n  {number}. {what}" for number, what in enumerate(self.trace, 1))
        return f"{told}: broken: {self.broken}{steps}"


def explore(
    firsts: Iterable[WorldT],
    *,
    steps: Callable[[WorldT], Iterable[Step[WorldT]]],
    broken: Callable[[WorldT], PromiseT | None],
    states_max: int,
) -> Explored[WorldT, PromiseT]:
    """Every state that can be reached from `firsts`, or the way to the first broken promise.

    Raises AssertionError beyond `states_max`.
    """
    parents: dict[WorldT, WorldT | None] = dict.fromkeys(firsts)
    transitions = 0
    level = list(parents)
    while level:
        following: list[WorldT] = []
        for world in level:
            promise = broken(world)
            if promise is not None:
                trace = _trace(world, parents, steps)
                return Explored(parents=parents, transitions=transitions, broken=promise, trace=trace)
            for _, after in steps(world):
                transitions += 1
                if after not in parents:
                    parents[after] = world
                    following.append(after)
        assert len(parents) <= states_max, f"more than {states_max} states: the bounds are too wide"
        level = following
    return Explored(parents=parents, transitions=transitions)


def _trace(
    world: WorldT,
    parents: dict[WorldT, WorldT | None],
    steps: Callable[[WorldT], Iterable[Step[WorldT]]],
) -> tuple[str, ...]:
    """What was done on the way to `world`, first to last."""
    told: list[str] = []
    before = parents[world]
    while before is not None:
        told.append(next(what for what, after in steps(before) if after == world))
        world, before = before, parents[before]
    return tuple(reversed(told))
