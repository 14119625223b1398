"""What sealers may do: reads, seals, LISTs, as production's plan asks for them.

Owns: the answers of the store, some lost or late; which sealers are alike. Does not own: the plan (plans.py).
"""

from collections.abc import Iterator
from functools import cache

from libs.model.ids import ChainSeq
from libs.segments.chain import ListMarkers, PutSeals, ReadSlots, SealPlan, Slot
from tests.model.plans import begin, listed, next_action, put, saw
from tests.model.rules import Rules
from tests.model.world import Sealer, World, bits, first_free, sealed, slot

SealerStep = tuple[str, World, Sealer]


def late_seal_steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Seals land to whose PUTs nobody waits any more."""
    for seq in bits(world.late_seals):
        if slot(world, seq) is Slot.MISSING or not rules.if_none_match:
            left = world._replace(late_seals=world.late_seals & ~(1 << seq))
            yield f"a late PUT of a seal lands at {seq}", sealed(left, seq)


def sealer_steps(world: World, sealer: Sealer, rules: Rules) -> Iterator[SealerStep]:
    """What one sealer may do next, and itself after it. Nothing once it has finished."""
    if sealer.plan is None:
        yield from _beginnings(world, rules)
        return
    match next_action(sealer.plan):
        case ReadSlots(seqs):
            for seq in seqs:
                yield read(world, sealer, seq)
        case PutSeals() if not rules.listed_after_seal and sealer.listed < 0:
            yield f"a sealer lists markers: {world.start}", world, sealer._replace(listed=world.start)
        case PutSeals(seqs):
            for seq in seqs:
                yield from _seal_steps(world, sealer, seq, rules)
        case ListMarkers():
            told = _told_start(world, sealer, rules)
            after = sealer._replace(plan=listed(sealer.plan, told), listed=-1)
            yield f"a sealer takes the start for {told}", world, after


def _beginnings(world: World, rules: Rules) -> Iterator[SealerStep]:
    """At the start; or behind an index, which is written once all that it covers is durable."""
    start = world.start if rules.start_from_bucket else 0
    for seq in {start, max(start, first_free(world.succeeded))}:
        yield f"a sealer begins to search at {seq}", world, Sealer(begin(seq, rules.seal_window))


def _told_start(world: World, sealer: Sealer, rules: Rules) -> int:
    """What a sealer takes for the greatest marker."""
    assert sealer.plan is not None
    unchecked = not rules.found_seal_is_checked and not sealer.wrote >> sealer.plan.tail & 1
    if unchecked or not rules.markers_listed or not rules.start_from_bucket:
        return 0
    return world.start if rules.listed_after_seal else max(sealer.listed, 0)


def _seal_steps(world: World, sealer: Sealer, seq: int, rules: Rules) -> Iterator[SealerStep]:
    plan = sealer.plan
    assert plan is not None
    wrote = sealer.wrote | 1 << seq if not rules.found_seal_is_checked else 0
    created = sealer._replace(plan=put(plan, seq, created=True), wrote=wrote)
    if slot(world, seq) is not Slot.MISSING and rules.if_none_match:
        yield refused(world, sealer, seq)
        return
    after = sealed(world, seq)
    yield f"a sealer writes a seal at {seq}", after, created
    if not world.late_seals_left:
        return
    once = world.late_seals_left - 1
    _, _, unsure = refused(world, sealer, seq)
    unheard = unsure if rules.lost_seal_is_read else created
    yield f"a seal lands at {seq}, the answer is lost", after._replace(late_seals_left=once), unheard
    late = world._replace(late_seals=world.late_seals | 1 << seq, late_seals_left=once)
    yield f"a seal for {seq} is late, without an answer", late, unheard


def read(world: World, sealer: Sealer, seq: int) -> SealerStep:
    assert sealer.plan is not None
    found = slot(world, seq)
    return f"a sealer reads place {seq}: {found}", world, sealer._replace(plan=saw(sealer.plan, seq, found))


def refused(world: World, sealer: Sealer, seq: int) -> SealerStep:
    """The place was taken; or nobody knows: the plan reads it next."""
    assert sealer.plan is not None
    told = sealer._replace(plan=put(sealer.plan, seq, created=False))
    return f"a sealer is refused place {seq}", world, told


def with_sealer(sealers: tuple[Sealer, ...], before: Sealer, step: SealerStep) -> tuple[str, World]:
    what, after, told = step
    at = sealers.index(before)
    return what, after._replace(sealers=_in_order((*sealers[:at], told, *sealers[at + 1 :])))


def _in_order(sealers: tuple[Sealer, ...]) -> tuple[Sealer, ...]:
    """Sealers are alike: the order has no meaning. Of one that finished only the end has."""
    return tuple(sorted(map(_finished, sealers), key=_rank))


@cache
def _finished(sealer: Sealer) -> Sealer:
    if sealer.end < 0:
        return sealer
    end = ChainSeq(sealer.end)
    return Sealer(SealPlan(start=end, tail=end, seen=((end, Slot.SEAL),), confirmed=True))


@cache
def _rank(sealer: Sealer) -> str:
    return repr(sealer)
