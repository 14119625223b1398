"""What collectors may do: the owner of the chain, and, once it has ended, any other.

Owns: compaction that lets go, start markers, deletes. Does not own: how far a start may move and what may go,
which are production's decisions (collection/decide.py).
Rules: 1 what a collector knows may be old: then it allows less; 2 a DELETE may come late: what may go once
may always go, so that is a DELETE now.
"""

from collections.abc import Iterator
from functools import cache
from itertools import count

from libs.model.ids import ChainSeq
from libs.model.references import SessionReferences
from libs.objectstore.port import ObjectInfo
from libs.segments.chain import Slot
from libs.segments.keys import chain_object_key, parse_chain_object_key, start_marker_key
from services.partition_owner.collection.decide import OwnFacts, chain_garbage, dead_start, own_start
from tests.model.rules import Rules
from tests.model.world import SESSION, World, bits, first_free, slot


def collector_steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    if world.moves_left:
        yield from _moves(world, rules)
    if not (rules.marker_first and rules.only_prefix):
        for seq in range(world.needed + 1, max(first_free(world.succeeded), *world.ends, 0) + 1):
            yield f"what is below {seq} is compacted, nothing names it", world._replace(needed=seq)
    deletable = _deletable(world, rules)
    for seq in bits(deletable):
        at = ~(1 << seq)
        yield f"place {seq} is deleted", world._replace(data=world.data & at, seals=world.seals & at)
    if not rules.greatest_marker_stays and world.start in world.ends:
        yield f"the marker {world.start} of the dead chain is deleted", world._replace(start=0)


def _moves(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """New starts. What lies below is compacted just before: to be named for longer only forbids more."""
    durable = first_free(world.succeeded)
    past = 0 if rules.start_within_durable else 1
    if world.alive and not world.closed:
        # What the owner knows of itself and the references may be old: then they allow less.
        for seq in range(world.start + 1, durable + past + 1):
            if _own_start(durable + past, seq) >= seq:
                yield f"what is below {seq} is compacted; the owner's marker", _moved(world, seq, rules)
    for end in world.ends:
        for seq in range(world.start + 1, end + 1):
            if _dead_start(end, seq) >= seq:
                yield f"what is below {seq} is compacted; a collector's marker", _moved(world, seq, rules)
        if not rules.dead_start_within_end:
            yield (
                f"a collector's marker {end + 1} in a chain that ended at {end}",
                _moved(world, end + 1, rules),
            )
    if not rules.only_owner_moves_live:
        free = next(seq for seq in count(world.start) if slot(world, seq) is Slot.MISSING)
        if free > world.start:
            what = f"{free} is free: the marker of a collector who is not the owner"
            yield what, world._replace(start=free, moves_left=world.moves_left - 1)


def _moved(world: World, start: int, rules: Rules) -> World:
    needed = world.needed
    if rules.start_within_needed:
        needed = max(needed, min(start, max(first_free(world.succeeded), *world.ends, 0)))
    return world._replace(start=start, needed=needed, moves_left=world.moves_left - 1)


def _deletable(world: World, rules: Rules) -> int:
    ends = world.ends
    end = min(ends) if ends else -1
    may = _garbage(world.data | world.seals, world.start, end)
    if not rules.ending_seal_stays and world.start == end:
        may |= 1 << end
    if not rules.marker_first:
        may |= (1 << world.needed) - 1
    if not rules.only_prefix and world.needed > world.start:
        may |= 1 << (world.needed - 1)
    return may & (world.data | world.seals)


@cache
def _garbage(places: int, start: int, end: int) -> int:
    """What production lets go of a chain with objects at `places`, after a LIST of now."""
    keys = [chain_object_key(SESSION, seq) for seq in bits(places)]
    if start:
        keys.append(start_marker_key(SESSION, start))
    listed = [ObjectInfo(key=key, size_bytes=1, modified_ms=0) for key in keys]
    found = chain_garbage(SESSION, listed, end=None if end < 0 else ChainSeq(end))
    places_of = [parse_chain_object_key(each.key) for each in found]
    return sum(1 << place.seq for place in places_of if place is not None)


@cache
def _own_start(durable: int, needed: int) -> int:
    facts = OwnFacts(session=SESSION, durable_seq=ChainSeq(durable), openings={})
    found = SessionReferences(
        session=SESSION, recorded=True, registered=True, assigned=True, least_from_seq=ChainSeq(needed)
    )
    start = own_start(facts, found)
    assert start is not None
    return start


@cache
def _dead_start(end: int, needed: int) -> int:
    """`needed` at the end or beyond: no state names the chain any more."""
    least = ChainSeq(needed) if needed < end else None
    found = SessionReferences(session=SESSION, recorded=True, least_from_seq=least)
    start = dead_start(found, ChainSeq(end))
    assert start is not None
    return start
