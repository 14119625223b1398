"""One chain with all who touch it: what may happen next.

Owns: joining writer, sealers and collectors; which orders make no difference. Does not own: their steps.
Rules: 1 a read, PUT, LIST or DELETE takes effect at one moment, anywhere between its request and its answer;
2 a crash or a pause is somebody who takes no step any more, for a while or for ever: so every state has it;
3 with all rules kept, everybody does what production does.
"""

from collections.abc import Iterator

from libs.segments.chain import ListMarkers, PutSeals, ReadSlots
from tests.model.collector import collector_steps
from tests.model.plans import next_action
from tests.model.rules import KEPT, Rules
from tests.model.sealers import late_seal_steps, read, refused, sealer_steps, with_sealer
from tests.model.world import World
from tests.model.writer import landing_steps, writer_steps


def steps(world: World, rules: Rules = KEPT) -> Iterator[tuple[str, World]]:
    """All that may happen next, but for orders that make no difference."""
    settled = _settled_step(world) if rules is KEPT else None
    for what, after in _steps(world, rules) if settled is None else (settled,):
        yield what, _canonical(after)


def _settled_step(world: World) -> tuple[str, World] | None:
    """A step of a sealer whose result is the same whenever it is done, and that nobody else sees.

    Once the start moves no more, a place at or above it that is taken stays as it is. So all other steps may
    wait for this one: every state that counts is still reached.
    """
    if world.moves_left:
        return None
    stays = (world.data | world.seals) & (-1 << world.start)
    if world.start in world.ends:
        stays &= (2 << world.start) - 1
    for sealer in world.sealers:
        if sealer.plan is None:
            continue
        match next_action(sealer.plan):
            case ListMarkers():
                step = next(sealer_steps(world, sealer, KEPT))
            case ReadSlots(seqs) if stays >> seqs[0] & 1:
                step = read(world, sealer, seqs[0])
            case PutSeals(seqs) if (
                taken := next((seq for seq in seqs if stays >> seq & 1), None)
            ) is not None:
                step = refused(world, sealer, taken)
            case _:
                continue
        return with_sealer(world.sealers, sealer, step)
    return None


def _canonical(world: World) -> World:
    """Without what nobody can see any more.

    That is the places below the start that no sealer who goes on will read, and, once all have finished,
    those beyond the end: the writer's place there holds a seal for ever.
    """
    seen_from = world.start
    going_on = False
    for sealer in world.sealers:
        if sealer.end < 0:
            going_on = True
            if sealer.plan is not None:
                seen_from = min(seen_from, sealer.plan.tail)
    mask = -1 << seen_from
    if not going_on and world.ends:
        mask &= (2 << max(world.ends)) - 1
    if (world.data | world.seals | world.late_seals) & ~mask:
        return world._replace(
            data=world.data & mask, seals=world.seals & mask, late_seals=world.late_seals & mask
        )
    return world


def _steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    yield from landing_steps(world, rules)
    yield from late_seal_steps(world, rules)
    if world.alive and not world.closed:
        yield from writer_steps(world, rules)
    yield from collector_steps(world, rules)
    for index, sealer in enumerate(world.sealers):
        if index and sealer == world.sealers[index - 1]:
            continue  # two of a kind: what the one does, the other would
        for what, after, told in sealer_steps(world, sealer, rules):
            yield with_sealer(world.sealers, sealer, (what, after, told))
