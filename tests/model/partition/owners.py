"""What one session of an owner may do with the partition, and what may become of its PUTs.

Owns: when it opens, appends, releases, loses and gives up; landing. Does not own: what an opening and a
release come to (openings.py, decisions.py), what the metadata store makes of it (metadata.py).
Rules: 1 a session acts on the assignment of now, or does nothing: who was told late learned it and was slow
to act; 2 what landed is known at once to who wrote it: to hear late takes away from what it may do and from
what it promised; 3 a reply that comes and one that is read back say the same: both are a look at the store.
"""

from collections.abc import Iterator
from functools import cache

from tests.model.partition.decisions import appended, release, release_unopened, takes_appends
from tests.model.partition.metadata import sent
from tests.model.partition.openings import Attempt, Gone, Opens, Own, Seals, Sends, attempt
from tests.model.partition.rules import KEPT, Rules
from tests.model.partition.transactions import open_partition
from tests.model.partition.world import (
    CLOSED,
    NAMES,
    OPEN,
    OPENING,
    OWNERS,
    RELEASING,
    SENT,
    SERVED,
    Assigned,
    Session,
    State,
    World,
    durable_records,
)

Step = tuple[str, World]


def landing_steps(world: World) -> Iterator[Step]:
    """Objects land, in any order; never in a chain that has ended."""
    for index, session in enumerate(world.sessions):
        if not session.sealed:
            for seq in range(session.durable, len(session.records)):
                if not session.landed >> seq & 1:
                    landed = session._replace(landed=session.landed | 1 << seq)
                    yield f"{NAMES[index]}'s object {seq} lands", world.with_session(index, landed)


def owner_steps(world: World, index: int, rules: Rules = KEPT) -> Iterator[Step]:
    session = world.sessions[index]
    if not session.over:
        yield from hold_steps(world, index, rules)
        yield from _append_steps(world, index, rules)
        if world.hidden_left and session.phase != CLOSED:
            what = f"{NAMES[index]} loses the partition from sight, and sees it again"
            hidden = world.with_session(index, _seen_again(index, session))
            yield what, hidden._replace(hidden_left=world.hidden_left - 1)
        yield from _end_steps(world, index)


def _seen_again(index: int, session: Session) -> Session:
    """The same epoch may be held once more; but who was told to release it is told so again at once."""
    if session.phase in (RELEASING, SENT):
        asked = session.asked | {release_unopened(index, session.epoch)}
        return session._replace(phase=CLOSED, asked=asked)
    return session._replace(phase=CLOSED, epoch=session.epoch - 1)


def hold_steps(world: World, index: int, rules: Rules = KEPT) -> Iterator[Step]:
    """What the assignment makes it do."""
    session, assigned = world.sessions[index], world.assigned
    name = NAMES[index]
    if assigned.session == index and assigned.epoch > session.epoch:
        if assigned.releasing:
            asked = session.asked | {release_unopened(index, assigned.epoch)}
            given = session._replace(phase=CLOSED, epoch=assigned.epoch, asked=asked)
            yield f"{name} gives back epoch {assigned.epoch} unopened", world.with_session(index, given)
        yield from _opening_steps(world, index, assigned.epoch, rules)
    elif session.phase == OPENING:
        yield from _opening_steps(world, index, session.epoch, rules)
    elif (assigned.session, assigned.epoch) != (index, session.epoch):
        if session.phase in (OPEN, RELEASING):
            lost = world.with_session(index, session._replace(phase=CLOSED))
            yield f"{name} hears that epoch {session.epoch} is over", lost
    elif session.phase == OPEN and assigned.releasing:
        releasing = session._replace(phase=RELEASING)
        yield f"{name} is to release epoch {session.epoch}", world.with_session(index, releasing)
    if session.phase == RELEASING and (session.all_durable or not rules.release_awaits_durable):
        asks = release(index, session.epoch, session.first_seq, session.last_seq, session.next_offset)
        released = session._replace(phase=SENT, asked=session.asked | {asks})
        what = f"{name} sends the release of epoch {session.epoch}, at offset {asks.offset}"
        yield what, world.with_session(index, released)
    if session.phase == SENT and not rules.release_one_way:
        served = session._replace(phase=OPEN)
        yield f"{name} hears nothing of its release and serves on", world.with_session(index, served)
    if session.phase == SENT and not rules.lost_release_is_sent_again:
        given_up = session._replace(phase=CLOSED, asked=frozenset())
        yield f"{name} takes its release for done; it never arrives", world.with_session(index, given_up)


def attempted(world: World, index: int, epoch: int, rules: Rules = KEPT) -> Attempt:
    """What an opening by that session comes to now."""
    session, assigned, state = world.sessions[index], world.assigned, world.state
    named = _named(assigned, state) | 1 << index
    sealed = 0
    for at, each in enumerate(world.sessions):
        ends = each.sealed or not rules.predecessor_sealed
        if ends or (not rules.position_sealed and at not in [who for who, _ in assigned.predecessors]):
            sealed |= 1 << at
    chains = tuple([each if named >> at & 1 else () for at, each in enumerate(durable_records(world))])
    durable = session.durable
    next_seq = len(session.records) + session.stuck if rules.own_flight_awaited else durable
    own = Own(index, epoch, next_seq, durable)
    return attempt(own, assigned, state, chains, sealed & named & ~(1 << index))


@cache
def _named(assigned: Assigned, state: State | None) -> int:
    """The sessions whose chains an opening looks at, as bits."""
    named = {session for session, _ in assigned.predecessors}
    if state is not None:
        named.update(each.session for each in state.positions)
    return sum(1 << each for each in named)


def _opening_steps(world: World, index: int, epoch: int, rules: Rules) -> Iterator[Step]:
    session, name = world.sessions[index], NAMES[index]
    tried = attempted(world, index, epoch, rules)
    opened = session._replace(phase=OPEN, epoch=epoch)
    match tried:
        case Gone():
            lost = session._replace(phase=CLOSED, epoch=epoch)
            yield f"{name} finds that epoch {epoch} is over", world.with_session(index, lost)
        case Seals(other):
            sealed = world.sessions[other]._replace(sealed=True)
            yield f"{name} seals the chain of {NAMES[other]}", world.with_session(other, sealed)
        case Opens(first_seq, opened_at):
            opened = opened._replace(first_seq=first_seq, opened_at=opened_at)
            what = f"{name} finds that it opened epoch {epoch}, at offset {opened_at}"
            yield what, world.with_session(index, opened)
        case Sends(state, first_seq, opened_at):
            opened = opened._replace(first_seq=first_seq, opened_at=opened_at)
            if not rules.position_first:
                what = f"{name} serves epoch {epoch} from offset {opened_at}, with nothing written"
                yield what, world.with_session(index, opened)
                return
            new = state if rules.closed_recorded else state._replace(positions=state.positions[-1:])
            txn = open_partition(world.assigned, world.state, new)
            opening = world.with_session(index, session._replace(phase=OPENING, epoch=epoch))
            after = sent(opening, txn, rules.open_compares)
            if after != world:
                yield f"{name} sends that it opens epoch {epoch} at offset {opened_at}", after
            if session.phase == OPENING and not rules.lost_open_is_read:
                what = f"{name} hears nothing and serves epoch {epoch} from offset {opened_at}"
                yield what, world.with_session(index, opened)
    if session.phase == OPENING and not rules.lost_open_is_tried_again:
        given_up = session._replace(phase=CLOSED)
        yield f"{name} hears nothing and gives epoch {epoch} up", world.with_session(index, given_up)


def _append_steps(world: World, index: int, rules: Rules) -> Iterator[Step]:
    session = world.sessions[index]
    if session.phase not in SERVED or not (takes_appends(session.phase) or not rules.releasing_refuses):
        return
    if session.sealed and rules is KEPT:
        if not session.stuck:
            stuck = session._replace(stuck=True)
            yield f"{NAMES[index]} assembles what will never land", world.with_session(index, stuck)
    elif world.records_left and session.has_room:
        before = session.next_offset - session.opened_at
        found = appended(index, len(session.records), session.epoch, session.opened_at, before).wal_range
        records = (*session.records, (found.leader_epoch, found.base_offset))
        what = f"{NAMES[index]} gives offset {found.base_offset} to a record, under epoch {session.epoch}"
        after = world.with_session(index, session._replace(records=records))
        yield what, after._replace(records_left=world.records_left - 1)


def _end_steps(world: World, index: int) -> Iterator[Step]:
    """It crashed, or met a seal, and its owner comes back with another session."""
    owner = OWNERS[index]
    following = len(world.sessions)
    if world.sessions_left and OWNERS[following] == owner and world.newest_of(owner) == index:
        over = world.with_session(index, world.sessions[index]._replace(over=True))
        began = (*over.sessions, Session())
        after = over._replace(sessions=began, sessions_left=world.sessions_left - 1)
        yield f"{NAMES[index]} is over, {NAMES[following]} begins", after
