"""Every order of two sealers, a writer with two objects in flight, late PUTs and a moving start, on small
bounds.

Checked in every state that is reached: sealers who finished name one end, nothing acknowledged lies at or
beyond it, and what was acknowledged is still there unless a marker says that it was collected. Canaries show
that the search finds what each rule prevents.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import pytest

from libs.model.ids import ChainSeq
from libs.segments.chain import Ended, ListMarkers, PutSeals, ReadSlots, SealPlan, Slot

WINDOW = 2
STATES_MAX = 400_000


# Few plans come up in many worlds: each step of a plan is taken once.
next_action = cache(SealPlan.next_action)
saw = cache(SealPlan.saw)
put = cache(SealPlan.put)
listed = cache(SealPlan.listed)


class World(NamedTuple):
    """The store, the network, the writer and the sealers."""

    objects: int = 3
    data: frozenset[int] = frozenset()
    seals: frozenset[int] = frozenset()
    start: int = 0
    sent: int = WINDOW  # PUTs of objects below this may land at any time, again and again
    learned: frozenset[int] = frozenset()
    writer_over: bool = False
    late_seal: int | None = None
    late_seals_left: int = 0
    collections_left: int = 0
    deleted: frozenset[int] = frozenset()
    plans: tuple[SealPlan, ...] = ()
    acknowledged: int = 0

    def slot(self, seq: int) -> Slot:
        if seq in self.data:
            return Slot.DATA
        return Slot.SEAL if seq in self.seals else Slot.MISSING


@dataclass(frozen=True, slots=True)
class Rules:
    """What the world keeps to; a canary breaks one."""

    durable: Callable[[frozenset[int]], int]
    list_markers: bool = True


def durable(learned: frozenset[int]) -> int:
    return next(seq for seq in range(100) if seq not in learned)


def writer_steps(world: World, rules: Rules) -> Iterator[World]:
    for seq in range(world.sent):
        landed = world
        if world.slot(seq) is Slot.MISSING:
            landed = world._replace(data=world.data | {seq})
            yield landed  # the reply is late, or lost
        if world.writer_over or seq in world.learned:
            continue
        if landed.slot(seq) is Slot.SEAL:
            yield landed._replace(writer_over=True)
        else:
            learned = landed.learned | {seq}
            yield landed._replace(
                learned=learned,
                sent=min(durable(learned) + WINDOW, world.objects),
                acknowledged=max(landed.acknowledged, rules.durable(learned)),
            )


def collector_steps(world: World) -> Iterator[World]:
    if world.collections_left:
        ends = [action.end for plan in world.plans if isinstance(action := next_action(plan), Ended)]
        own = durable(world.learned) if not world.writer_over else 0
        start = max([own, *ends])
        if start > world.start:
            yield world._replace(start=start, collections_left=world.collections_left - 1)
    for seq in world.data | world.seals:
        if seq < world.start and seq not in world.deleted:
            deleted = world.deleted | {seq}
            yield world._replace(data=world.data - {seq}, seals=world.seals - {seq}, deleted=deleted)


def sealer_steps(world: World, index: int, rules: Rules) -> Iterator[World]:
    plan = world.plans[index]

    def told(after: World, plan: SealPlan) -> World:
        return after._replace(plans=(*after.plans[:index], plan, *after.plans[index + 1 :]))

    match next_action(plan):
        case ReadSlots(seqs):
            for seq in seqs:
                yield told(world, saw(plan, seq, world.slot(seq)))
        case PutSeals(seqs):
            for seq in seqs:
                if world.slot(seq) is not Slot.MISSING:
                    yield told(world, put(plan, seq, created=False))
                    continue
                yield told(world._replace(seals=world.seals | {seq}), put(plan, seq, created=True))
                if world.late_seals_left:  # no status: it lands later, or never
                    late = world._replace(late_seal=seq, late_seals_left=world.late_seals_left - 1)
                    yield told(late, put(plan, seq, created=False))
        case ListMarkers():
            yield told(world, listed(plan, ChainSeq(world.start if rules.list_markers else 0)))
        case Ended():
            pass


def steps(world: World, rules: Rules) -> Iterator[World]:
    yield from writer_steps(world, rules)
    yield from collector_steps(world)
    if world.late_seal is not None:
        free = world.slot(world.late_seal) is Slot.MISSING
        yield world._replace(late_seal=None, seals=world.seals | {world.late_seal} if free else world.seals)
    for index in range(len(world.plans)):
        yield from sealer_steps(world, index, rules)


def broken_promise(world: World) -> str:
    ends = {action.end for plan in world.plans if isinstance(action := next_action(plan), Ended)}
    if len(ends) > 1:
        return f"two ends: {ends}"
    if ends and world.acknowledged > min(ends):
        return f"acknowledged up to {world.acknowledged}, but the chain ends at {min(ends)}"
    if not world.data >= set(range(world.start, world.acknowledged)):
        return "acknowledged data is gone"
    return ""


def explore(world: World, rules: Rules) -> tuple[set[World], set[int], str]:
    """(states, ends that were reached, the first broken promise)."""
    known = {world}
    todo = [world]
    ends: set[int] = set()
    while todo:
        world = todo.pop()
        broken = broken_promise(world)
        if broken:
            return known, ends, broken
        ends |= {action.end for plan in world.plans if isinstance(action := next_action(plan), Ended)}
        following = [after for after in steps(world, rules) if after not in known]
        known.update(following)
        todo += following
        assert len(known) < STATES_MAX, "the bounds are too wide"
    return known, ends, ""


def sealers(count: int) -> tuple[SealPlan, ...]:
    return (SealPlan.begin(ChainSeq(0), window=WINDOW, read_ahead=1),) * count


SCENARIOS = {
    "two sealers": World(plans=sealers(2)),
    "a late seal": World(plans=sealers(1), late_seals_left=2),
    "collected while being sealed": World(plans=sealers(1), collections_left=2),
    "two sealers who believe in a start that is gone": World(
        objects=2,
        plans=sealers(2),
        data=frozenset({0}),
        learned=frozenset({0}),
        acknowledged=1,
        start=1,
        collections_left=1,
    ),
}
KEPT = Rules(durable=durable)


@pytest.mark.parametrize("name", SCENARIOS)
def test_one_end_and_nothing_acknowledged_beyond_it(name: str) -> None:
    states, ends, broken = explore(SCENARIOS[name], KEPT)
    assert not broken
    assert len(states) > 1000
    assert len(ends) > 1  # the race is real: different histories end in different places
    # A sealer who is left alone in any of these states finishes. Every 200th of them stands for all.
    for world in sorted(states, key=repr)[::200]:
        for index in range(len(world.plans)):
            alone = world
            for _ in range(60):
                following = next(sealer_steps(alone, index, KEPT), None)
                if following is None:
                    break
                alone = following
            assert isinstance(alone.plans[index].next_action(), Ended)


def test_canary_a_sealer_who_lists_no_markers_is_found() -> None:
    world = SCENARIOS["two sealers who believe in a start that is gone"]
    _, _, broken = explore(world, Rules(durable=durable, list_markers=False))
    assert broken


def test_canary_acknowledging_out_of_order_is_found() -> None:
    rules = Rules(durable=lambda learned: max(learned, default=-1) + 1)
    _, _, broken = explore(SCENARIOS["two sealers"], rules)
    assert broken
