"""What must hold in every state of the partition's world. Pure.

Owns: the promises, each by its name. Does not own: how states are reached.
"""

from collections.abc import Iterator
from enum import StrEnum
from functools import cache

from tests.model.partition.decisions import Chains, Place, found, takes_appends
from tests.model.partition.rules import KEPT, Rules
from tests.model.partition.world import OPEN_END, SERVED, State, World, acknowledged, durable_records


class Promise(StrEnum):
    """Its text is what a report says."""

    ONE_VALUE = "no two acknowledged records have one offset"
    FOUND = "whoever opens next finds every acknowledged record at its offset"
    WHOLE = "whoever opens next finds offsets without a gap, up to where a release said that they end"
    FORWARD = "an epoch begins at or above all that was acknowledged under those before it"
    RELEASED = "after a release its epoch takes no append"
    EPOCHS = "the leader epoch never goes back, and is given once"
    OPENS = "who has the partition, and is left alone, comes to open it, or gives it on"


def broken_promises(world: World, rules: Rules = KEPT) -> Iterator[Promise]:
    """The promises that do not hold here, but for OPENS."""
    told = tuple([acknowledged(each, rules) for each in world.sessions])
    yield from _of_records(told, durable_records(world), world.state)
    for session in world.sessions:
        if session.phase in SERVED and _highest_before(told, session.epoch) >= session.opened_at:
            yield Promise.FORWARD
    for index, epoch in world.released:
        session = world.sessions[index]
        if session.epoch == epoch and session.phase in SERVED and takes_appends(session.phase):
            yield Promise.RELEASED
    if (world.assigned.epoch, world.assigned.session) != world.newest:
        yield Promise.EPOCHS


@cache
def _of_records(told: Chains, chains: Chains, state: State | None) -> tuple[Promise, ...]:
    """Of what was acknowledged, and what is in the store."""
    records = [
        (offset, (index, seq)) for index, chain in enumerate(told) for seq, (_, offset) in enumerate(chain)
    ]
    broken: list[Promise] = []
    if len({offset for offset, _ in records}) < len(records):
        broken.append(Promise.ONE_VALUE)
    log = _log(state, chains)
    if log is None:
        broken.append(Promise.WHOLE)
    elif any(offset >= len(log) or log[offset] != record for offset, record in records):
        broken.append(Promise.FOUND)
    return tuple(broken)


@cache
def _highest_before(told: Chains, before: int) -> int:
    """The highest offset that was acknowledged under an epoch before that one; -1: none."""
    return max([offset for chain in told for epoch, offset in chain if epoch < before], default=-1)


def _log(state: State | None, chains: Chains) -> tuple[Place, ...] | None:
    """What is found by who seals all that is open, now, and reads."""
    if state is None:
        return ()
    positions = [
        each._replace(end=max(len(chains[each.session]), each.start)) if each.end == OPEN_END else each
        for each in state.positions
    ]
    return found(positions, state.released, chains)
