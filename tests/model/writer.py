"""What the chain's writer may do, and what may become of its PUTs.

Owns: landing, success, ending the own chain. Does not own: whose a found object is (libs/segments/chain).
Rules: 1 a PUT that was sent may land at any later time, or never, and its answer may come late, or never;
2 an object is on its way as soon as the window allows: that only adds to what one that is sent later may do;
3 a session that is over is a writer that takes no step any more: any may do so at any time.
"""

from collections.abc import Iterator
from functools import cache
from uuid import UUID

from libs.model.ids import ChainSeq, OwnerId, SessionId
from libs.segments.chain import Slot, is_mine
from libs.segments.seal import Seal
from libs.segments.wal import WalFooter
from tests.model.rules import Rules
from tests.model.world import SESSION, World, first_free, in_flight, sealed, slot, stored


def landing_steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    for seq in in_flight(world, rules):
        if slot(world, seq) is Slot.MISSING or (not rules.if_none_match and slot(world, seq) is Slot.SEAL):
            again = world.landed >> seq & 1
            if again and not world.again_left and slot(world, seq) is Slot.MISSING:
                continue
            after = stored(world, seq)
            if again:
                after = after._replace(again_left=max(world.again_left - 1, 0))
            elif world.prompt:
                after = after._replace(succeeded=world.succeeded | 1 << seq)
            yield f"the writer's PUT of object {seq} lands{' again' * again}", after


def writer_steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    for seq in in_flight(world, rules):
        if world.succeeded >> seq & 1:
            continue
        knows = world._replace(succeeded=world.succeeded | 1 << seq)
        found = slot(world, seq)
        if _is_mine(seq, found):
            yield f"the writer hears, or reads, that object {seq} is there", knows
        elif world.landed >> seq & 1:
            yield f"the writer hears late that its PUT of object {seq} succeeded", knows
        elif found is Slot.SEAL and not rules.taken_is_resolved:
            yield f"the writer is refused place {seq} and takes that for success", knows
        elif found is Slot.MISSING and not rules.missing_is_failure:
            yield f"the writer finds nothing at {seq} after a lost answer and takes that for success", knows
    durable = first_free(world.succeeded)
    if world.landed >> durable == 0:
        over = world._replace(objects=durable)
        found = slot(world, durable)
        if found is Slot.MISSING:
            yield f"the writer seals its own chain at {durable}", sealed(over, durable)._replace(closed=True)
        elif found is Slot.SEAL:
            yield f"the writer closes and finds a seal at {durable}", over._replace(closed=True)


@cache
def _is_mine(seq: int, found: Slot) -> bool:
    """What production says of an object that is found at the writer's place `seq`."""
    nonce = bytes([seq])
    if found is Slot.MISSING:
        return is_mine(None, nonce)
    if found is Slot.SEAL:
        return is_mine(_seal_at(seq), nonce)
    footer = WalFooter(session=SESSION, seq=ChainSeq(seq), nonce=nonce, created_ms=0, data_bytes=0, ranges=())
    return is_mine(footer, nonce)


def _seal_at(seq: int) -> Seal:
    return Seal(
        session=SESSION,
        seq=ChainSeq(seq),
        nonce=bytes([200 + seq]),
        created_ms=0,
        sealer_session=SessionId(UUID(int=2)),
        sealer_owner=OwnerId("owner-b"),
    )
