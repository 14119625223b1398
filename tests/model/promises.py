"""What must hold in every state of the chain's world. Pure.

Owns: the promises, each by its name. Does not own: how states are reached.
"""

from collections.abc import Iterator
from enum import StrEnum

from tests.model.rules import KEPT, Rules
from tests.model.sealers import sealer_steps
from tests.model.world import Sealer, World, acknowledged

ALONE_STEPS_MAX = 100


class Promise(StrEnum):
    """Its text is what a report says."""

    ONE_END = "all who finish find the same end"
    END_STAYS = "an end keeps its seal, and before it data down to the start: who asks later finds it too"
    NOT_CUT_OFF = "no end lies below the start: a stale sealer cuts off nothing that lives"
    NOTHING_BEYOND = "nothing at or beyond the end is acknowledged, however late it lands"
    STORED = "what is still named is stored, if it was acknowledged or lies before the end"
    ONE_ROUND = "one round of seals stops a dead writer, whatever of it lands late"


def broken_promises(world: World, rules: Rules = KEPT) -> Iterator[Promise]:
    """The promises that do not hold here."""
    ends = world.ends
    sure = acknowledged(world, rules)
    if ends:
        end = min(ends)
        if len(ends) > 1:
            yield Promise.ONE_END
        if end < world.start:
            yield Promise.NOT_CUT_OFF
        elif not world.seals >> end & 1 or not _all_data(world, _places(world.start, end)):
            yield Promise.END_STAYS
        if sure >> end:
            yield Promise.NOTHING_BEYOND
        sure |= _places(0, end)
    if not _all_data(world, sure & ~_places(0, world.needed)):
        yield Promise.STORED
    if not world.alive and any(sealer.rounds > 1 for sealer in world.sealers):
        yield Promise.ONE_ROUND


def finishes_alone(sealer: Sealer, data: int, seals: int, start: int) -> bool:
    """Whether a sealer comes to an end where nobody else does anything any more."""
    world = World(data=data, seals=seals, start=start)
    for _ in range(ALONE_STEPS_MAX):
        following = next(sealer_steps(world, sealer, KEPT), None)
        if following is None:
            return sealer.end >= 0
        _, world, sealer = following
    return False


def _all_data(world: World, places: int) -> bool:
    return world.data & places == places


def _places(start: int, end: int) -> int:
    """The places [start, end), as bits."""
    return (1 << end) - (1 << start)
