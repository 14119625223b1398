"""One moment of a chain and of all who touch it. Places of the chain are bits of an int.

Owns: the state, in a form that can be hashed. Does not own: what may happen next (chain.py).
"""

from functools import cache
from typing import NamedTuple
from uuid import UUID

from libs.model.ids import SessionId
from libs.segments.chain import SealPlan, Slot
from tests.model import plans
from tests.model.rules import KEPT, WINDOW, Rules

SESSION = SessionId(UUID(int=1))


class Sealer(NamedTuple):
    """`plan` None: it has not begun. `wrote`, `listed`: only what some weakened rule goes by."""

    plan: SealPlan | None = None
    wrote: int = 0
    listed: int = -1

    @staticmethod
    def who_searches_from(start: int) -> "Sealer":
        return Sealer(plans.begin(start, WINDOW))

    @property
    def end(self) -> int:
        """Where the chain ends, as this sealer found out; -1 before."""
        return -1 if self.plan is None else plans.end_of(self.plan)

    @property
    def rounds(self) -> int:
        """Rounds of seals it began."""
        return 0 if self.plan is None else self.plan.rounds


class World(NamedTuple):
    """One moment."""

    objects: int = 3
    """How many the writer has to write."""
    data: int = 0
    """Places that hold data."""
    seals: int = 0
    """Places that hold a seal."""
    landed: int = 0
    """Places whose data was ever stored: a late answer may still say so."""
    succeeded: int = 0
    """Places of which the writer knows."""
    closed: bool = False
    """The writer ended its own chain, at `objects`, and knows it."""
    alive: bool = True
    """False: it is known that the writer hears of nothing any more; only its PUTs land."""
    sealers: tuple[Sealer, ...] = ()
    late_seals: int = 0
    """Places to which a seal is on its way, without anybody who waits for the answer."""
    late_seals_left: int = 0
    start: int = 0
    """The greatest start marker."""
    needed: int = 0
    """The least place that a partition's state names."""
    moves_left: int = 0
    """How many times the start may be moved."""
    prompt: bool = False
    """The writer hears at once. Hearing late takes away from what it may do, and from what it promised."""
    again_left: int = 0
    """How many PUTs may land again where their object was deleted."""

    @property
    def ends(self) -> set[int]:
        """What those who finished found."""
        found = {sealer.end for sealer in self.sealers if sealer.end >= 0}
        return found | {self.objects} if self.closed else found


def acknowledged(world: World, rules: Rules = KEPT) -> int:
    """Places whose records were acknowledged, as bits."""
    return (1 << first_free(world.succeeded)) - 1 if rules.in_order else world.succeeded


def slot(world: World, seq: int) -> Slot:
    if world.data >> seq & 1:
        return Slot.DATA
    return Slot.SEAL if world.seals >> seq & 1 else Slot.MISSING


def in_flight(world: World, rules: Rules) -> range:
    """Places to which the writer's PUTs may be on their way, or were."""
    if rules.window_from_first_unfinished:
        return range(min(first_free(world.succeeded) + WINDOW, world.objects))
    unfinished = [seq for seq in range(world.objects) if not world.succeeded >> seq & 1]
    return range(unfinished[WINDOW] if len(unfinished) > WINDOW else world.objects)


def stored(world: World, seq: int) -> World:
    at = 1 << seq
    return world._replace(data=world.data | at, seals=world.seals & ~at, landed=world.landed | at)


def sealed(world: World, seq: int) -> World:
    at = 1 << seq
    return world._replace(data=world.data & ~at, seals=world.seals | at)


@cache
def bits(mask: int) -> tuple[int, ...]:
    """The places in a mask."""
    return tuple(seq for seq in range(mask.bit_length()) if mask >> seq & 1)


@cache
def first_free(succeeded: int) -> int:
    return next(seq for seq in range(64) if not succeeded >> seq & 1)
