"""One partition with all who touch it: what may happen next.

Owns: joining owners, sealers, the metadata store and its controller; which states are alike. Does not own:
their steps.
Rules: 1 a request takes effect at one moment, anywhere between its being sent and its answer, or never; 2 a
crash or a pause is somebody who takes no step any more, for a while or for ever: so every state has it; 3 a
chain that some session opened the partition in may be sealed at any moment, by whoever was told once that it
is a predecessor; sealing takes effect at one moment, at the chain's first free place (tests/model/chain.py
shows why); 4 with all rules kept, everybody does what production does.
"""

from collections.abc import Iterator

from tests.model.partition.metadata import metadata_steps, taken_up
from tests.model.partition.owners import landing_steps, owner_steps
from tests.model.partition.rules import KEPT, Rules
from tests.model.partition.world import CLOSED, NAMES, SENT, SERVED, Session, World


def steps(world: World, rules: Rules = KEPT) -> Iterator[tuple[str, World]]:
    """All that may happen next."""
    for what, after in _steps(world, rules):
        yield what, canonical(after, rules, before=world)


def _steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    yield from landing_steps(world)
    for index, session in enumerate(world.sessions):
        yield from owner_steps(world, index, rules)
        if session.epoch >= 0 and not session.sealed:
            sealed = world.with_session(index, session._replace(sealed=True))
            yield f"somebody seals the chain of {NAMES[index]}", sealed
    yield from metadata_steps(world, rules)


def canonical(world: World, rules: Rules = KEPT, *, before: World | None = None) -> World:
    """Without what makes no difference any more. `before`: a canonical one, of which most is the same."""
    known = before.sessions if before is not None and before.assigned is world.assigned else ()
    changed = False
    for index, session in enumerate(world.sessions):
        if index < len(known) and session is known[index]:
            continue
        seen = _session(world, index, rules)
        if seen is not session:
            world = world.with_session(index, seen)
        changed = True
    if changed and world.released:
        sessions = world.sessions
        released = [
            at for at in world.released if not sessions[at[0]].over and sessions[at[0]].epoch == at[1]
        ]
        if len(released) < len(world.released):
            world = world._replace(released=frozenset(released))
    return world


def _session(world: World, index: int, rules: Rules) -> Session:
    session = world.sessions[index]
    if session.asked:
        # The epoch only grows: what is refused once always is.
        asked = frozenset([each for each in session.asked if taken_up(world, index, each) is not None])
        if asked != session.asked:
            session = session._replace(asked=asked)
    if session.phase == SENT and not session.asked:
        session = session._replace(phase=CLOSED)
    if session.over and session.phase != CLOSED:
        session = session._replace(phase=CLOSED)
    if session.phase not in SERVED and (session.first_seq or session.opened_at):
        session = session._replace(first_seq=0, opened_at=0)
    if session.sealed and rules is KEPT:
        durable = session.durable
        if len(session.records) > durable or session.landed >> durable:
            session = session._replace(
                records=session.records[:durable], landed=(1 << durable) - 1, stuck=True
            )
    return session
